package amqpconn_test

import (
	"context"
	"errors"
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
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// callModes are the ways to call.
var callModes = map[string]amqpconn.DialOptions{
	"one reply queue":  {Logger: servicetest.Quiet},
	"a queue per call": {Logger: servicetest.Quiet, ReplyPerCall: true},
	"persistent":       {Logger: servicetest.Quiet, Persistent: true},
	"checked":          {Logger: servicetest.Quiet, RequireServer: true},
}

func TestCalls(t *testing.T) {
	t.Parallel()
	for name, opts := range callModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			w := serve(t, s, nil)
			c := dial(t, s, &opts, 0)
			servicetest.RequireCalls(t, c.Client, 10)
			require.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", calc.Args{A: 1}))
			servicetest.Eventually(t, func() bool { return w.conn.Stats().Requests == 64*10+4 })
			c.end(t)
			w.End(t)
			q, _ := s.inspect(s.queue)
			require.Zero(t, q.Messages, "all are acknowledged")
		})
	}
}

// absent is the address of no broker.
const absent = "amqp://user:secret@127.0.0.1:1/"

func TestBadOptions(t *testing.T) {
	t.Parallel()
	badArgs := amqpconn.Queue{Args: amqp.Table{"x": struct{}{}}}
	plainQuorum := amqpconn.Queue{Plain: true, Quorum: true}
	for _, test := range []struct {
		name, url, queue string
		dial             *amqpconn.DialOptions
		listen           *amqpconn.ListenOptions
		want             string
	}{
		{"no URL", "", "calc", nil, nil, "URL 1 of 1 is bad"},
		{"unparsable", "amqp://user:secret@host:port", "calc", nil, nil, "URL 1 of 1 is bad"},
		{"another scheme", "redis://user:secret@host", "calc", nil, nil, "amqps://"},
		{"blank", "amqp://user:secret@ho st", "calc", nil, nil, "URL 1 of 1 is bad"},
		{"another node's", absent, "calc",
			&amqpconn.DialOptions{URLs: []string{absent, "http://user:secret@host"}},
			&amqpconn.ListenOptions{URLs: []string{absent, "http://user:secret@host"}}, "URL 3 of 3 is bad"},
		{"no queue", absent, "", nil, nil, "the queue has no name"},
		{"long queue", absent, strings.Repeat("x", 256), nil, nil, "longer than 255 bytes"},
		{"bad argument", absent, "calc",
			&amqpconn.DialOptions{Declare: &badArgs}, &amqpconn.ListenOptions{Queue: badArgs}, `queue "calc": `},
		{"plain quorum", absent, "calc",
			&amqpconn.DialOptions{Declare: &plainQuorum}, &amqpconn.ListenOptions{Queue: plainQuorum}, "can't be plain"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for name, make := range map[string]func() (any, error){
				"Dial":   func() (any, error) { return amqpconn.Dial(test.url, test.queue, test.dial) },
				"Listen": func() (any, error) { return amqpconn.Listen(test.url, test.queue, test.listen) },
			} {
				conn, err := make()
				require.Nil(t, conn, name)
				require.ErrorContains(t, err, test.want, name)
				require.ErrorContains(t, err, "amqpconn: ", name)
				require.NotContains(t, err.Error(), "secret", name)
			}
		})
	}
	_, err := amqpconn.Listen(absent, "calc", &amqpconn.ListenOptions{Prefetch: -1})
	require.EqualError(t, err, `amqpconn: queue "calc": Prefetch is -1, less than 0`)
	_, err = amqpconn.Listen(absent, "calc", &amqpconn.ListenOptions{Prefetch: 1 << 16})
	require.EqualError(t, err, `amqpconn: queue "calc": Prefetch is 65536, more than 65535`)
	for _, guarantee := range []jsonrpc2.Guarantee{-1, jsonrpc2.AtLeastOnce + 1} {
		_, err = amqpconn.Listen(absent, "calc", &amqpconn.ListenOptions{Guarantee: guarantee})
		require.EqualError(t, err, fmt.Sprintf(`amqpconn: queue "calc": Guarantee is %d, which is none`, guarantee))
	}
}

// Both ends wait for a broker that is absent. A call waits for less than two seconds.
func TestAbsentBroker(t *testing.T) {
	t.Parallel()
	var log servicetest.LogBook
	s := site{absent, "calc"}
	c := dialing(t, s, &amqpconn.DialOptions{Logger: log.Logger()}, 0)
	w := start(t, s, &amqpconn.ListenOptions{Logger: log.Logger()}, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	begin := time.Now()
	_, err := c.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	require.ErrorContains(t, err, `queue "calc"`)
	err = c.Call("Calc.Add", calc.Args{}, new(float64))
	require.ErrorContains(t, err, jsonrpc2.ErrUnavailable.Error())
	require.Less(t, time.Since(begin), 2*closeTime)
	servicetest.EventuallyEqual(t, amqpconn.ClientStats{Unsent: 2}, c.conn.Stats)
	requireImpaired(t, c.conn.Err, "connection refused")
	requireImpaired(t, w.conn.Err, "connection refused")
	c.end(t)
	w.End(t)
	require.Equal(t, 1, log.Count("level=ERROR", "role=client", "queue=calc", "connection refused"), &log)
	require.Equal(t, 1, log.Count("level=ERROR", "role=server", "queue=calc", "connection refused"), &log)
	require.Equal(t, 2, log.Count(""), &log)
	require.NotContains(t, log.String(), "secret")
}

// A rejected password is not shown.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	var log servicetest.LogBook
	s := newSite(t)
	s.declare(t, false, false, nil)
	wrong := site{strings.Replace(s.url, "guest:guest", "guest:secret", 1), s.queue}
	c := dialing(t, wrong, &amqpconn.DialOptions{Logger: log.Logger()}, 0)
	_, err := c.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	servicetest.Eventually(t, func() bool { return log.Count("level=ERROR", "username or password not allowed") == 1 }, "the broker takes its time")
	require.NotContains(t, log.String()+err.Error(), "secret")
}

// The other nodes of a cluster are tried in turn.
func TestURLs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	first := site{absent, s.queue}
	w := start(t, first, &amqpconn.ListenOptions{URLs: []string{absent, s.url}, Logger: servicetest.Quiet}, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	s.requireConsumers(t, 1)
	c := dial(t, first, &amqpconn.DialOptions{URLs: []string{s.url}, Logger: servicetest.Quiet}, 0)
	c.requireAdds(t)
	requireConnected(t, w.conn)
	// Of two connections the one may work before the other has failed: that makes two.
	require.Positive(t, c.conn.Stats().Reconnects)
	require.Positive(t, w.conn.Stats().Reconnects)

	// And again when the one in use fails.
	proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
	c = dial(t, s.at(proxy.Addr), &amqpconn.DialOptions{URLs: []string{absent, s.url}, Logger: servicetest.Quiet}, 0)
	c.requireAdds(t)
	proxy.Refuse(true)
	c.requireRecovers(t)
}

// What Config says holds, and the connections have names unless it gives them.
func TestConfig(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	names := func() string {
		return brokertest.SharedRabbitMQ(t).Eval(`io:format("~0p", [rabbit_networking:connection_info_all([client_properties])])`)
	}
	properties := amqp.Table{"connection_name": "named by " + s.queue}
	w := serve(t, s, nil)
	c := dial(t, s, &amqpconn.DialOptions{Logger: servicetest.Quiet, Config: amqp.Config{Properties: properties}}, 0)
	c.requireAdds(t)
	require.Contains(t, names(), "jsonrpc2 server of "+s.queue)
	require.Contains(t, names(), "named by "+s.queue)
	require.Equal(t, amqp.Table{"connection_name": "named by " + s.queue}, properties)
	c.end(t)
	w.End(t)

	var log servicetest.LogBook
	c = dialing(t, s, &amqpconn.DialOptions{Logger: log.Logger(), Config: amqp.Config{Vhost: "nowhere"}}, 0)
	_, err := c.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	servicetest.Eventually(t, func() bool { return log.Count("vhost nowhere not found") == 1 }, &log)
}

// A call to a missing queue fails at once, with jsonrpc2.Call and with net/rpc's own.
func TestMissingQueue(t *testing.T) {
	t.Parallel()
	for name, opts := range callModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c := dial(t, s, &opts, servicetest.Soon)
			begin := time.Now()
			_, err := c.add(1, 5.1)
			require.ErrorIs(t, err, jsonrpc2.ErrNoServer)
			require.ErrorContains(t, err, s.queue)
			err = c.Call("Calc.Add", calc.Args{}, new(float64))
			require.Error(t, err)
			require.True(t, strings.HasPrefix(err.Error(), jsonrpc2.ErrNoServer.Error()), "got %v", err)
			require.Less(t, time.Since(begin), servicetest.Soon/2)

			stats := c.conn.Stats()
			require.EqualValues(t, 2, stats.NoServer)
			require.Zero(t, stats.Confirmed)
			_, exists := s.inspect(s.queue)
			require.False(t, exists, "Dial does not create it")

			serve(t, s, nil)
			c.requireRecovers(t)
		})
	}
}

func TestStats(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := serve(t, s, nil)
	c := dial(t, s, &amqpconn.DialOptions{Persistent: true, Logger: servicetest.Quiet}, 0)
	for range 3 {
		c.requireAdds(t)
	}
	want := amqpconn.ClientStats{Requests: 3, Confirmed: 3, Replies: 3}
	servicetest.Eventually(t, func() bool { return c.conn.Stats() == want }, "have %+v", c.conn.Stats())
	servicetest.EventuallyEqual(t, amqpconn.ServerStats{Requests: 3, Replies: 3}, w.conn.Stats)
}

func TestCloseOfWhatWasNeverUsed(t *testing.T) {
	t.Parallel()
	for _, url := range []string{absent, brokertest.SharedRabbitMQ(t).URL()} {
		for range 3 {
			serving, err := amqpconn.Listen(url, "unused", &amqpconn.ListenOptions{Logger: servicetest.Quiet})
			require.NoError(t, err)
			require.NoError(t, serving.Close())
			require.NoError(t, serving.Close())
			_, err = serving.ReadRequest(context.Background())
			require.ErrorIs(t, err, io.EOF)

			conn, err := amqpconn.Dial(url, "unused", &amqpconn.DialOptions{Logger: servicetest.Quiet})
			require.NoError(t, err)
			require.NoError(t, conn.Close())
			require.NoError(t, conn.Close())
			_, err = conn.ReadReply(context.Background())
			require.ErrorIs(t, err, io.EOF)
			require.Error(t, conn.WriteRequest(newRequest(`{}`)))
		}
	}
	_, exists := site{brokertest.SharedRabbitMQ(t).URL(), ""}.inspect("unused")
	require.False(t, exists)
}

// noBroker are the options of a client that reaches no broker, in a synctest bubble.
func noBroker() *amqpconn.DialOptions {
	refused := func(string, string) (net.Conn, error) { return nil, errors.New("connection refused") }
	return &amqpconn.DialOptions{Logger: servicetest.Quiet, Config: amqp.Config{Dial: refused}}
}

// A call is not published after it was given up, or its deadline is over.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testGivenUp)
}

func testGivenUp(t *testing.T) {
	c := dialing(t, site{absent, "calc"}, noBroker(), 200*time.Millisecond)
	_, err := c.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err = jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	servicetest.Eventually(t, func() bool { return c.conn.Stats() == amqpconn.ClientStats{Expired: 2} })
}
