package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
)

// causeOf returns why a ping failed, for a reader who is to mend it. One cause always has the
// same text, without a local port or a time, so that await can see a change. The text has
// no password.
func (b *broker) causeOf(err error) string {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %v", pingTimeout)
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return fmt.Sprintf("looking up %q: %s", lookup.Name, lookup.Err)
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		text, _, _ := strings.Cut(certificate.Err.Error(), ": current time") // of one that has expired
		return "TLS: " + text
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return fmt.Sprintf("TLS is not spoken there: without it the URL begins with %s://", strings.TrimSuffix(b.scheme, "s"))
	}
	// A failed dial has a cause of its own. A failed read or write, or a reset in any
	// step, only shows that the other side hung up: it may be no broker.
	network, ok := errors.AsType[*net.OpError](err)
	reset := errors.Is(err, syscall.ECONNRESET)
	if ok && !reset && network.Op != "read" && network.Op != "write" {
		if call, ok := errors.AsType[*os.SyscallError](network.Err); ok {
			return call.Err.Error()
		}
		return network.Err.Error()
	}
	if text := b.refusal(err); text != "" {
		return text
	}
	return b.strange()
}

// strange is the cause if the other side did not answer as the broker would, or hung up.
func (b *broker) strange() string {
	text := "what listens there is not " + b.name
	if b.scheme == "redis" || b.scheme == "amqp" {
		text += ", or it wants TLS: " + b.scheme + "s://"
	}
	return text
}

// redisRefusal returns a broker.refusal for Redis.
func redisRefusal(u *url.URL) func(error) string {
	password, _ := u.User.Password()
	return func(err error) string {
		text := err.Error()
		if password != "" { // a server that does not know AUTH repeats the password in its error
			text = strings.ReplaceAll(text, password, "xxxxx")
		}
		_, refused := errors.AsType[redis.Error](err)
		switch {
		case strings.HasPrefix(text, "NOAUTH"):
			return "a password is wanted: " + text
		case strings.HasPrefix(text, "WRONGPASS"):
			return "wrong user or password: " + text
		case refused:
			return "refused: " + text
		default:
			return ""
		}
	}
}

// rabbitMQRefusal returns a broker.refusal for RabbitMQ. An error of no known type, the
// default case, says that amqp091-go can't use what the URL's query names.
func rabbitMQRefusal(u *url.URL) func(error) string {
	user := u.User.Username()
	return func(err error) string {
		refusal, ok := errors.AsType[*amqp.Error](err)
		_, network := errors.AsType[net.Error](err)
		file, isFile := errors.AsType[*fs.PathError](err)
		switch {
		case ok && refusal.Code == amqp.AccessRefused && (user == "" || user == "guest"):
			return "wrong user or password: ACCESS_REFUSED (403); guest may log in from the broker's own host alone"
		case ok && refusal.Code == amqp.AccessRefused:
			return "wrong user or password: ACCESS_REFUSED (403)"
		case ok && refusal.Server:
			return "refused: " + refusal.Reason
		case isFile:
			return "a file of the URL's query: " + file.Err.Error()
		case ok, network, errors.Is(err, io.EOF):
			return ""
		default:
			return "the URL's query can't be used"
		}
	}
}
