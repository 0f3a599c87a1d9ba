package natsconn_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/examples/natsconn"
)

func TestArguments(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	open, closed := connect(t, broker), connect(t, broker)
	closed.Close()
	for name, test := range map[string]struct {
		nc      *nats.Conn
		subject string
	}{
		"no nats.Conn":     {nil, "calc"},
		"closed nats.Conn": {closed, "calc"},
		"no subject":       {open, ""},
		"space":            {open, "calc add"},
		"line break":       {open, "calc\r\nPUB x 0"},
		"empty token":      {open, "calc..add"},
		"dot at the end":   {open, "calc."},
		"wildcard":         {open, "calc.*"},
		"all":              {open, ">"},
	} {
		t.Run(name, func(t *testing.T) {
			client, err := natsconn.Dial(test.nc, test.subject)
			require.ErrorContains(t, err, "natsconn: ")
			require.Nil(t, client)
			server, err := natsconn.Listen(test.nc, test.subject)
			require.ErrorContains(t, err, "natsconn: ")
			require.Nil(t, server)
		})
	}
}

// Without a server, a call and a notification fail at once.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	subject := newSubject()
	stats := new(jsonrpc2.ClientStats)
	client, conn := dial(t, connect(t, broker), subject, jsonrpc2.ClientOptions{Stats: stats})
	require.ErrorIs(t, echo(client), jsonrpc2.ErrNoServer)
	require.EqualValues(t, 1, stats.Snapshot().Unsent)
	for range 100 { // never nil: the 503 always comes before the ping's answer
		require.ErrorIs(t, notify(t, conn, note), jsonrpc2.ErrNoServer)
	}
	serve(t, connect(t, broker), subject, newService(), jsonrpc2.ServerOptions{})
	require.NoError(t, echo(client))
	require.NoError(t, notify(t, conn, note))
}

func TestMaxPayload(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{MaxPayload: 64 << 10})
	subject := newSubject()
	client, conn := dial(t, connect(t, broker), subject, jsonrpc2.ClientOptions{})
	stats := new(jsonrpc2.ServerStats)
	serve(t, connect(t, broker), subject, newService(), jsonrpc2.ServerOptions{Stats: stats})
	long := strings.Repeat("x", 64<<10)
	_, err := jsonrpc2.Call[string](t.Context(), client, "Test.Echo", long)
	require.ErrorIs(t, err, jsonrpc2.ErrTooLarge)
	require.ErrorIs(t, notify(t, conn, strings.Replace(note, "note", long, 1)), jsonrpc2.ErrTooLarge)
	_, err = jsonrpc2.Call[[]byte](t.Context(), client, "Test.Long", 64<<10)
	require.ErrorIs(t, err, jsonrpc2.ErrReplyLost)
	require.ErrorContains(t, err, nats.ErrMaxPayload.Error())
	require.EqualValues(t, 1, stats.Snapshot().LostReplies)
	require.NoError(t, echo(client))
}

// While the broker is away, a new call fails at once. A call under way is answered when the
// broker is back, or ends at its deadline. The client and the server work on.
func TestBrokerRestarts(t *testing.T) {
	t.Parallel()
	port := lastingPort(t)
	broker := startBroker(t, server.Options{Port: port})
	subject := newSubject()
	service := newService()
	ncClient, ncServer := connect(t, broker), connect(t, broker)
	client, conn := dial(t, ncClient, subject, jsonrpc2.ClientOptions{Timeout: -1})
	drain, served := serve(t, ncServer, subject, service, jsonrpc2.ServerOptions{})

	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // in which it begins
	defer cancel()
	short, long := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := jsonrpc2.Call[string](ctx, client, "Test.Wait", "short")
		short <- err
	}()
	go func() {
		_, err := jsonrpc2.Call[string](t.Context(), client, "Test.Wait", "long")
		long <- err
	}()
	receive(t, service.started)
	receive(t, service.started)

	kill(broker)
	require.Eventually(t, func() bool { return conn.Err() != nil }, patience, tick)
	require.ErrorIs(t, echo(client), jsonrpc2.ErrUnavailable)
	require.ErrorIs(t, notify(t, conn, note), jsonrpc2.ErrUnavailable)
	require.ErrorIs(t, receive(t, short), jsonrpc2.ErrTimeout)

	startBroker(t, server.Options{Port: port})
	require.Eventually(t, func() bool { return conn.Err() == nil && ncServer.IsConnected() }, patience, tick)
	require.NoError(t, ncServer.Flush())
	require.NoError(t, echo(client))
	service.release()
	require.NoError(t, receive(t, long))
	drain()
	require.NoError(t, receive(t, served))
}

// lastingPort returns a free port that no system gives to anybody else meanwhile: those that
// systems choose are higher.
func lastingPort(t *testing.T) int {
	t.Helper()
	for {
		port := 10_000 + rand.IntN(10_000)
		if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
}

// A cut is a connection that the first request closes. That request is lost.
type cut struct{ net.Conn }

func (c cut) Write(p []byte) (int, error) {
	if !strings.Contains(string(p), "jsonrpc") {
		return c.Conn.Write(p)
	}
	c.Close()
	time.Sleep(2 * time.Millisecond) // mostly enough for nats.go to reconnect before it pings
	return len(p), nil
}

// Keeps a notification that was lost with its connection from counting as sent, because
// nats.go pings over the next connection.
func TestNotificationIsUnconfirmed(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	nc := connect(t, broker, nats.WriteBufferSize(1), nats.SetCustomDialer(dialer(func(network, address string) (net.Conn, error) {
		c, err := net.Dial(network, address)
		return cut{c}, err
	})))
	_, conn := dial(t, nc, newSubject(), jsonrpc2.ClientOptions{})
	for range 50 {
		require.Eventually(t, nc.IsConnected, patience, tick)
		require.ErrorIs(t, notify(t, conn, note), jsonrpc2.ErrUnconfirmed)
	}
}

// When the nats.Conn is closed, calls that wait end, and later ones fail.
func TestNatsConnIsClosed(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	subject := newSubject()
	service := newService()
	ncClient, ncServer := connect(t, broker), connect(t, broker)
	client, conn := dial(t, ncClient, subject, jsonrpc2.ClientOptions{Timeout: -1})
	_, served := serve(t, ncServer, subject, service, jsonrpc2.ServerOptions{})
	waiting := make(chan error, 1)
	go func() {
		_, err := jsonrpc2.Call[string](t.Context(), client, "Test.Wait", "")
		waiting <- err
	}()
	receive(t, service.started)
	ncClient.Close()
	require.ErrorIs(t, receive(t, waiting), jsonrpc2.ErrReplyLost)
	require.ErrorIs(t, echo(client), jsonrpc2.ErrUnavailable)
	require.Error(t, conn.Err())

	ncServer.Close()
	service.release()
	require.ErrorIs(t, receive(t, served), nats.ErrConnectionClosed)
}

// A stuck is a connection whose writes block from the close of stick to that of release.
type stuck struct {
	net.Conn
	stick   chan struct{}
	release chan struct{}
}

func (s *stuck) Write(p []byte) (int, error) {
	select {
	case <-s.stick:
		<-s.release
	default:
	}
	return s.Conn.Write(p)
}

type dialer func(network, address string) (net.Conn, error)

func (d dialer) Dial(network, address string) (net.Conn, error) { return d(network, address) }

// Neither a call nor Close waits for a socket that takes nothing.
func TestSocketIsStuck(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	stick, release := make(chan struct{}), make(chan struct{})
	nc := connect(t, broker, nats.SetCustomDialer(dialer(func(network, address string) (net.Conn, error) {
		c, err := net.Dial(network, address)
		return &stuck{c, stick, release}, err
	})))
	conn, err := natsconn.Dial(nc, newSubject())
	require.NoError(t, err)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: quiet})
	defer close(release)
	close(stick)
	for range 10 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := jsonrpc2.Call[string](ctx, client, "Test.Echo", "text")
		cancel()
		require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	}
	closed := make(chan error, 1)
	go func() { closed <- client.Close() }()
	select {
	case err := <-closed:
		require.ErrorIs(t, err, nats.ErrTimeout)
	case <-time.After(10 * time.Second): // Close takes four
		require.FailNow(t, "Close has not returned")
	}
}

// Close leaves the nats.Conn open: another Conn goes on to use it.
func TestCloseLeavesNatsConnOpen(t *testing.T) {
	t.Parallel()
	broker := startBroker(t, server.Options{})
	nc, subject := connect(t, broker), newSubject()
	first, _ := dial(t, nc, subject, jsonrpc2.ClientOptions{})
	second, _ := dial(t, nc, subject, jsonrpc2.ClientOptions{})
	serve(t, nc, subject, newService(), jsonrpc2.ServerOptions{})
	require.NoError(t, echo(first))
	require.NoError(t, first.Close())
	require.NoError(t, echo(second))
	require.True(t, nc.IsConnected())
}
