package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// Keeps serve from waiting in silence, as it once did for a broker that refused its password.
func TestServeSaysWhyItWaits(t *testing.T) {
	locked, open, killed := brokertest.StartRedis(t), brokertest.StartRedis(t), brokertest.StartRedis(t)
	require.NoError(t, locked.Client(t).ConfigSet(t.Context(), "requirepass", "right").Err())
	killed.Kill()
	hole := brokertest.StartProxy(t, open.Addr)
	hole.BlackHole(true)
	reset := brokertest.StartProxy(t, open.Addr)
	reset.Refuse(true)
	rabbit := brokertest.SharedRabbitMQ(t).Addr
	web, secure := otherServers(t)

	for _, test := range []struct{ name, url, want string }{
		{"Redis refused", "redis://user:secret@" + killed.Addr, "redis://user:xxxxx@" + killed.Addr + ": connection refused\n"},
		{"Redis password", "redis://:secret@" + locked.Addr + "/0", "redis://:xxxxx@" + locked.Addr + "/0: wrong user or password: WRONGPASS "},
		{"Redis user", "redis://user:secret@" + open.Addr, ": wrong user or password: WRONGPASS "},
		{"Redis without a password", "redis://" + locked.Addr, "redis://" + locked.Addr + ": a password is wanted: NOAUTH "},
		{"Redis database", "redis://" + open.Addr + "/99", "/99: refused: ERR DB index is out of range\n"},
		{"Redis name", "redis://no-such-host.invalid?read_timeout=7", `redis://no-such-host.invalid:6379: looking up "no-such-host.invalid": `},
		{"Redis nothing", "redis://" + hole.Addr, ": no answer within 5s\n"},
		{"Redis closed", "redis://" + reset.Addr, ": what listens there is not Redis, or it wants TLS: rediss://\n"},
		{"Redis web", "redis://" + web, ": what listens there is not Redis, or it wants TLS: rediss://\n"},
		{"Redis RabbitMQ", "redis://" + rabbit, ": what listens there is not Redis"},
		{"Redis TLS", "rediss://" + secure, ": TLS: x509: certificate signed by unknown authority\n"},
		{"Redis without TLS", "redis://" + secure, ": what listens there is not Redis, or it wants TLS: rediss://\n"},
		{"RabbitMQ refused", "amqp://user:secret@" + killed.Addr, "amqp://user:xxxxx@" + killed.Addr + ": connection refused\n"},
		{"RabbitMQ password", "amqp://guest:secret@" + rabbit, ": wrong user or password: ACCESS_REFUSED (403); guest may "},
		{"RabbitMQ user", "amqp://user:secret@" + rabbit, ": wrong user or password: ACCESS_REFUSED (403)\n"},
		{"RabbitMQ vhost", "amqp://" + rabbit + "/missing", "/missing: refused: NOT_ALLOWED - vhost missing not found\n"},
		{"RabbitMQ name", "amqp://no-such-host.invalid", `: looking up "no-such-host.invalid": `},
		{"RabbitMQ nothing", "amqp://" + hole.Addr, ": no answer within 5s\n"},
		{"RabbitMQ closed", "amqp://" + reset.Addr, ": what listens there is not RabbitMQ, or it wants TLS: amqps://\n"},
		{"RabbitMQ Redis", "amqp://" + open.Addr, ": no answer within 5s\n"},
		{"RabbitMQ TLS", "amqps://" + secure, ": TLS: x509: certificate signed by unknown authority\n"},
		{"RabbitMQ no TLS", "amqps://" + rabbit, ": TLS is not spoken there: without it the URL begins with amqp://\n"},
		{"RabbitMQ without TLS", "amqp://" + secure, ": what listens there is not RabbitMQ, or it wants TLS: amqps://\n"},
		{"RabbitMQ file", "amqps://" + rabbit + "?cacertfile=/secret", ": a file of the URL's query: no such file or directory\n"},
		{"RabbitMQ mechanism", "amqp://" + rabbit + "?auth_mechanism=secret", ": the URL's query can't be used\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			stderr := interruptWaiting(t, test.url)
			require.Contains(t, stderr, test.want)
			require.NotContains(t, stderr, "secret")
			require.NotContains(t, stderr, "?")
			require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		})
	}
}

// otherServers starts two servers that are no brokers. The second one speaks TLS.
func otherServers(t *testing.T) (web, secure string) {
	t.Helper()
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)
	certified := httptest.NewUnstartedServer(http.NotFoundHandler())
	certified.Config.ErrorLog = log.New(io.Discard, "", 0)
	certified.StartTLS()
	t.Cleanup(certified.Close)
	return plain.Listener.Addr().String(), certified.Listener.Addr().String()
}

// Each cause is written once, however often the broker is tried.
func TestServeSaysWhenTheCauseChanges(t *testing.T) {
	redis := brokertest.StartRedis(t)
	redis.Kill()
	cmd, lines := startWaiting(t, "redis://user:secret@"+redis.Addr)
	where := "calc: waiting for redis://user:xxxxx@" + redis.Addr + ": "
	require.Equal(t, where+"connection refused", <-lines)
	redis.Start()
	admin := redis.Client(t)
	require.Equal(t, where+"wrong user or password: WRONGPASS invalid username-password pair or user is disabled.", <-lines)
	awaitTries(t, admin)
	require.NoError(t, admin.ACLSetUser(t.Context(), "user", "on", ">secret").Err())
	require.Contains(t, <-lines, where+"refused: NOPERM ")
	awaitTries(t, admin)
	require.NoError(t, admin.ACLSetUser(t.Context(), "user", "allcommands", "allkeys").Err())
	require.Contains(t, <-lines, "calc: ready: serving ")
	require.NoError(t, cmd.Signal(syscall.SIGTERM))
	require.Empty(t, <-lines, "it ends without a word")
}

// startWaiting starts calc serve. It returns the process, and a channel with its lines on
// standard error; "" stands for their end.
func startWaiting(t *testing.T, url string) (*os.Process, <-chan string) {
	t.Helper()
	cmd := command("serve", "-broker", url)
	pipe, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := make(chan string)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(lines)
		for scanner := bufio.NewScanner(pipe); scanner.Scan(); {
			select {
			case lines <- scanner.Text():
			case <-t.Context().Done():
			}
		}
	}()
	stuck := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	t.Cleanup(func() {
		stuck.Stop()
		_ = cmd.Process.Kill()
		<-ended
		_ = cmd.Wait()
	})
	return cmd.Process, lines
}

// awaitTries waits until three more connections to a Redis were made.
func awaitTries(t *testing.T, admin *redis.Client) {
	t.Helper()
	connections := func() (n int) {
		info, err := admin.Info(t.Context(), "stats").Result()
		require.NoError(t, err)
		_, after, _ := strings.Cut(info, "total_connections_received:")
		_, err = fmt.Sscan(after, &n)
		require.NoError(t, err)
		return n
	}
	before := connections()
	require.Eventually(t, func() bool { return connections() >= before+3 }, time.Minute, 10*time.Millisecond)
}

// An interrupt does not wait for the broker's answer.
func TestInterruptWhileTheBrokerIsSilent(t *testing.T) {
	redis := brokertest.StartRedis(t)
	for _, scheme := range []string{"redis", "rediss", "amqp", "amqps"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			hole := brokertest.StartProxy(t, redis.Addr)
			hole.BlackHole(true)
			cmd, lines := startWaiting(t, scheme+"://"+hole.Addr)
			require.Contains(t, <-lines, ": no answer within 5s")
			require.Eventually(t, func() bool { return hole.Connections() == 0 }, time.Minute, time.Millisecond)
			require.Eventually(t, func() bool { return hole.Connections() == 1 }, time.Minute, time.Millisecond)
			interrupted := time.Now()
			require.NoError(t, cmd.Signal(os.Interrupt))
			require.Empty(t, <-lines)
			require.Less(t, time.Since(interrupted), pingTimeout-time.Second)
		})
	}
}

// Keeps causeOf from giving one cause several texts, and from showing a password.
func TestCauseOf(t *testing.T) {
	u, err := url.Parse("redis://user:secret@h")
	require.NoError(t, err)
	toRedis := &broker{name: "Redis", scheme: "redis", refusal: redisRefusal(u)}
	toRabbitMQ := &broker{name: "RabbitMQ", scheme: "amqps", refusal: rabbitMQRefusal(u)}
	expired := x509.CertificateInvalidError{Reason: x509.Expired, Detail: "current time 2026-01-02T03:04:05Z is after 2025-01-01T00:00:00Z"}
	for _, test := range []struct {
		broker *broker
		err    error
		want   string
	}{
		{toRedis, &tls.CertificateVerificationError{Err: expired}, "TLS: x509: certificate has expired or is not yet valid"},
		{toRedis, refusedByRedis("ERR unknown command 'AUTH', with args beginning with: 'user' 'secret'"),
			"refused: ERR unknown command 'AUTH', with args beginning with: 'user' 'xxxxx'"},
		{toRedis, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, "what listens there is not Redis, or it wants TLS: rediss://"},
		{toRedis, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNRESET}, "what listens there is not Redis, or it wants TLS: rediss://"},
		{toRedis, &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}, "tls: certificate required"},
		{toRabbitMQ, &amqp.Error{Code: amqp.FrameError, Reason: "read tcp 127.0.0.1:45480->127.0.0.1:5672: read: connection reset by peer"},
			"what listens there is not RabbitMQ"},
		{toRabbitMQ, io.EOF, "what listens there is not RabbitMQ"},
		{toRabbitMQ, context.DeadlineExceeded, "no answer within 5s"},
	} {
		require.Equal(t, test.want, test.broker.causeOf(test.err))
	}
}

// refusedByRedis is an error that Redis answers with.
type refusedByRedis string

func (e refusedByRedis) Error() string { return string(e) }
func (refusedByRedis) RedisError()     {}
