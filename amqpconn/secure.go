package amqpconn

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
)

// The wire between the network and the library has to see AMQP in the clear. So this package
// speaks TLS below the wire, and the library must not: withoutTLS hides it from the library.

// withoutTLS returns the amqp form of an amqps URL, with the same port. It returns any other
// URL as it is.
func withoutTLS(text string, uri amqp.URI) string {
	u, err := url.Parse(text)
	if err != nil || uri.Scheme != "amqps" {
		return text
	}
	u.Scheme = "amqp"
	u.Host = net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))
	return u.String()
}

// secure begins TLS on a connection if the URL asks for that. given is the configuration,
// nil for the one that the URL describes. After an error the caller closes conn.
func secure(ctx context.Context, conn net.Conn, uri amqp.URI, given *tls.Config) (net.Conn, error) {
	if uri.Scheme != "amqps" {
		return conn, nil
	}
	config, err := tlsConfig(uri, given)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return secured, nil
}

// tlsConfig returns a copy of the configuration that was given, or else the one that the URL
// describes.
func tlsConfig(uri amqp.URI, given *tls.Config) (*tls.Config, error) {
	config := given.Clone()
	if config == nil {
		config = &tls.Config{ServerName: uri.ServerName, MinVersion: tls.VersionTLS12}
		if uri.CACertFile != "" {
			authority, err := os.ReadFile(uri.CACertFile)
			if err != nil {
				return nil, fmt.Errorf("the URL's cacertfile: %w", err)
			}
			config.RootCAs = x509.NewCertPool()
			if !config.RootCAs.AppendCertsFromPEM(authority) {
				return nil, fmt.Errorf("the URL's cacertfile: %s has no certificate in PEM", uri.CACertFile)
			}
		}
		switch {
		case uri.CertFile == "" && uri.KeyFile == "":
		case uri.CertFile == "" || uri.KeyFile == "":
			return nil, errors.New("the URL's certfile and keyfile: one needs the other")
		default:
			certificate, err := tls.LoadX509KeyPair(uri.CertFile, uri.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("the URL's certfile and keyfile: %w", err)
			}
			config.Certificates = []tls.Certificate{certificate}
		}
	}
	if config.ServerName == "" {
		config.ServerName = uri.Host
	}
	return config, nil
}
