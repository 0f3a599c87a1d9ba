package amqpconn_test

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// stranger is another program on a port: it reads something, says something and
// hangs up. It returns its address.
func stranger(t *testing.T, says string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	t.Cleanup(func() { _ = listener.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 8))
			_, _ = io.WriteString(conn, says)
			_ = conn.Close()
		}
	}()
	return listener.Addr().String()
}

// The first error of a program, and its first log line, say why there is no
// connection, and where to.
func TestCauses(t *testing.T) {
	t.Parallel()
	broker := brokertest.SharedRabbitMQ(t)
	limited := rand.Text()
	broker.Ctl("add_vhost", limited)
	broker.Ctl("set_vhost_limits", "--vhost", limited, `{"max-connections": 0}`)
	broker.Ctl("set_permissions", "--vhost", limited, "guest", ".*", ".*", ".*")
	here := newSite(t)
	here.declare(t, true, false, nil)
	user := func(configure, write, read string) string { return here.as(t, broker, configure, write, read).url }
	for name, test := range map[string]struct {
		url  string
		want []string
	}{
		"wrong password":                 {"amqp://guest:secret@" + broker.Addr + "/", []string{"403", "username or password not allowed", broker.Addr + "/"}},
		"no such user":                   {"amqp://nobody:secret@" + broker.Addr + "/", []string{"403", "username or password not allowed", broker.Addr + "/"}},
		"wrong vhost":                    {"amqp://guest:guest@" + broker.Addr + "/other", []string{"530", "vhost other not found", broker.Addr + "/other"}},
		"connection limit":               {"amqp://guest:guest@" + broker.Addr + "/" + limited, []string{"530", "limit", broker.Addr + "/" + limited}},
		"refused":                        {"amqp://guest:secret@127.0.0.1:1/", []string{"connection refused", "127.0.0.1:1/"}},
		"no such host":                   {"amqp://guest:secret@nowhere.invalid/", []string{"lookup nowhere.invalid", "nowhere.invalid:5672/"}},
		"HTTP":                           {"amqp://guest:secret@" + stranger(t, "HTTP/1.1 400 Bad Request\r\n\r\n") + "/", []string{"no RabbitMQ", "HTTP/1.1 400"}},
		"Redis":                          {"amqp://guest:secret@" + stranger(t, "-ERR unknown command 'AMQP'\r\n") + "/", []string{"no RabbitMQ", "-ERR unknown command"}},
		"hangs up":                       {"amqp://guest:secret@" + stranger(t, "") + "/", []string{"EOF"}},
		"TLS to plain":                   {"amqps://guest:secret@" + broker.Addr + "/", []string{"TLS", "amqps://", broker.Addr}},
		"plain to TLS":                   {"amqp://guest:secret@" + stranger(t, "\x15\x03\x01\x00\x02\x02\x46") + "/", []string{"TLS", "amqps://"}},
		"no right to write":              {user(".*", "", ".*"), []string{"403", `right to write "amq.default"`, broker.Addr}},
		"no right to make a reply queue": {user("", ".*", ".*"), []string{"403", `right to configure "amq.gen-"`, broker.Addr}},
		"no right to read a reply queue": {user(".*", ".*", ""), []string{"403", `right to read "amq.gen-`, broker.Addr}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log servicetest.LogBook
			c := dialing(t, site{test.url, here.queue}, &amqpconn.DialOptions{Logger: log.Logger()}, 0)
			if strings.Contains(strings.Join(test.want, " "), "password") {
				requireNotLetIn(t, site{test.url, here.queue}, broker.Addr)
				servicetest.Eventually(t, func() bool { return log.Count("level=ERROR") > 0 }, "RabbitMQ takes its time")
			}
			err := c.failure()
			require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
			for _, want := range append(test.want, fmt.Sprintf("queue %q", here.queue)) {
				require.ErrorContains(t, err, want)
			}
			words := append([]string{"level=ERROR", "queue="}, test.want[0])
			servicetest.Eventually(t, func() bool { return log.Count(words...) > 0 }, &log)
			require.NotContains(t, log.String()+err.Error(), "secret")
		})
	}
}

// failure returns the error of the first call that says more than that the client still
// connects: a call does not wait for long.
func (c caller) failure() error {
	for begin := time.Now(); ; {
		_, err := c.add(1, 5.1)
		if err == nil || !strings.Contains(err.Error(), "still connecting") || time.Since(begin) > servicetest.Soon {
			return err
		}
	}
}

// requireNotLetIn requires that a call says that RabbitMQ has not let the client in yet. On a
// machine that stalls a call may fail before RabbitMQ has answered, or after it has refused:
// another client then calls.
func requireNotLetIn(t *testing.T, s site, addr string) {
	t.Helper()
	for begin := time.Now(); ; {
		c := dialing(t, s, nil, 0)
		servicetest.Eventually(t, func() bool { return !strings.HasSuffix(c.conn.Err().Error(), "still connecting") })
		_, err := c.add(1, 5.1)
		require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
		require.ErrorContains(t, err, addr)
		if strings.Contains(err.Error(), "not let us in yet, as it does for 3 s before it refuses a user name or a password") {
			return
		}
		require.Less(t, time.Since(begin), servicetest.Soon, "%v", err)
	}
}

// A broker that says nothing is named, too.
func TestSilentBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testSilentBroker)
}

func testSilentBroker(t *testing.T) {
	opts := &amqpconn.DialOptions{Logger: servicetest.Quiet, Config: amqp.Config{Dial: func(string, string) (net.Conn, error) {
		conn, broker := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, broker) }()
		return conn, nil
	}}}
	c := dialing(t, site{"amqp://guest:secret@broker/", "calc"}, opts, 0)
	begin := time.Now()
	_, err := c.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	require.Less(t, time.Since(begin), 2*time.Second)
	require.ErrorContains(t, err, "still connecting")
	require.ErrorContains(t, err, "broker:5672/")
	require.ErrorContains(t, c.conn.Err(), "still connecting")
}

// A call whose publishing is refused fails at once; the calls of those who may
// publish go on, and so do those of the same client when it may again.
func TestRightToCallRevoked(t *testing.T) {
	t.Parallel()
	broker := brokertest.SharedRabbitMQ(t)
	s := newSite(t)
	slow := servicetest.NewSlow()
	serve(t, s, nil, slow)
	u := s.as(t, broker, ".*", ".*", ".*")
	revoked, other := dial(t, u, nil, 10*time.Minute), dial(t, s, nil, 0)
	revoked.requireAdds(t)
	running := revoked.wait(1)
	slow.RequireRunning(t, 1)
	servicetest.Eventually(t, revoked.conn.KnowsArrived) // or the call is lost with its channel
	u.may(t, broker, ".*", "", ".*")
	require.Eventually(t, func() bool { // for a channel that is in use the broker remembers what it may
		begin := time.Now()
		_, err := revoked.add(1, 5.1)
		require.Less(t, time.Since(begin), closeTime)
		return err != nil && strings.Contains(err.Error(), `right to write "amq.default"`)
	}, time.Minute, 2*time.Second)
	other.requireAdds(t)
	u.may(t, broker, ".*", ".*", ".*")
	revoked.requireRecovers(t)
	slow.Open()
	requireWaited(t, running) // the broker had taken it
}

// Channels may run out where each call has its own.
func TestChannelsUsedUp(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	slow := servicetest.NewSlow()
	serve(t, s, nil, slow)
	c := dial(t, s, &amqpconn.DialOptions{ReplyPerCall: true, Logger: servicetest.Quiet, Config: amqp.Config{ChannelMax: 4}}, time.Minute)
	running := c.wait(1)
	slow.RequireRunning(t, 1)
	for n := int64(2); ; n++ {
		call := c.wait(int(n))
		require.Eventually(t, func() bool { return len(call.Done) > 0 || slow.Running.Load() == n }, servicetest.Soon, servicetest.Tick)
		if len(call.Done) > 0 {
			<-call.Done
			require.ErrorContains(t, call.Error, jsonrpc2.ErrUnavailable.Error())
			require.ErrorContains(t, call.Error, "channel id space exhausted")
			break
		}
	}
	slow.Open()
	requireWaited(t, running)
}

// A server names the right that it lacks.
func TestServerLacksRights(t *testing.T) {
	t.Parallel()
	broker := brokertest.SharedRabbitMQ(t)
	for right, patterns := range map[string][3]string{
		`right to configure `: {"", ".*", ".*"},
		`right to write `:     {".*", "", ".*"},
		`right to read `:      {".*", ".*", ""},
	} {
		t.Run(right, func(t *testing.T) {
			t.Parallel()
			s := site{broker.URL(), t.Name() + rand.Text()}
			var log servicetest.LogBook
			start(t, s.as(t, broker, patterns[0], patterns[1], patterns[2]), &amqpconn.ListenOptions{Logger: log.Logger()}, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
			servicetest.Eventually(t, func() bool { return log.Count("level=ERROR", right, "403") == 1 }, &log)
			s.delete(t)
		})
	}
}
