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

// causeOf says why a broker could not be reached. The text is the same as long as
// the cause is: it has no port of this end and no time. It has nothing that could
// be a password.
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
	network, ok := errors.AsType[*net.OpError](err)
	reset := errors.Is(err, syscall.ECONNRESET) // may come in any of the steps
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

// strange is the cause where an answer, or the end of the connection, is not the
// broker's.
func (b *broker) strange() string {
	text := "what listens there is not " + b.name
	if b.scheme == "redis" || b.scheme == "amqp" {
		text += ", or it wants TLS: " + b.scheme + "s://"
	}
	return text
}

// redisRefusal returns a function that says what a Redis refuses, and "" for
// errors that are none of Redis's.
func redisRefusal(u *url.URL) func(error) string {
	password, _ := u.User.Password()
	return func(err error) string {
		text := err.Error()
		if password != "" { // a server that does not know AUTH repeats its arguments
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

// rabbitMQRefusal is redisRefusal for RabbitMQ.
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
