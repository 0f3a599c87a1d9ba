package amqpconn_test

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	addr, trusting := terminateTLS(t, brokertest.SharedRabbitMQ(t).Addr)
	secure := site{strings.Replace(s.at(addr).url, "amqp:", "amqps:", 1), s.queue}
	config := amqp.Config{TLSClientConfig: trusting}
	start(t, secure, &amqpconn.ListenOptions{Config: config, Logger: servicetest.Quiet}, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	s.requireConsumers(t, 1)
	unverified := site{strings.Replace(secure.url, "127.0.0.1", "localhost", 1), s.queue} // the certificate's name is the other
	c := dial(t, unverified, &amqpconn.DialOptions{URLs: []string{secure.url}, Config: config, Logger: servicetest.Quiet}, 0)
	servicetest.RequireCalls(t, c.Client, 10)
	c.end(t)
	require.Empty(t, trusting.ServerName, "the caller's configuration is not written to")

	var log servicetest.LogBook
	c = dialing(t, secure, &amqpconn.DialOptions{Logger: log.Logger()}, 0)
	_, err := c.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	servicetest.Eventually(t, func() bool { return log.Count("level=ERROR", "certificate") == 1 }, &log)
}

// terminateTLS listens with TLS in front of a broker without. Clients with the
// configuration it returns trust it.
func terminateTLS(t *testing.T, broker string) (addr string, trusting *tls.Config) {
	t.Helper()
	certified := httptest.NewTLSServer(http.NotFoundHandler()) // has a certificate
	defer certified.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certified.TLS.Certificates})
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { join(conn, broker) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		serving.Wait()
	})
	return ln.Addr().String(), certified.Client().Transport.(*http.Transport).TLSClientConfig
}

// join passes on what comes, both ways, until one side ends.
func join(client net.Conn, broker string) {
	defer client.Close()
	server, err := net.Dial("tcp", broker)
	if err != nil {
		return
	}
	defer server.Close()
	var answers sync.WaitGroup
	answers.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	_, _ = io.Copy(server, client)
	_ = server.Close()
	answers.Wait()
}
