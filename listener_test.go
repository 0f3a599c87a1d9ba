package jsonrpc2_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A listener is a ServeListener that runs.
type listener struct {
	net.Listener
	addr  string
	drain context.CancelFunc
	done  chan error
	calls *jsonrpc2.ServerStats
	conns *jsonrpc2.ListenerStats
}

// serveListener serves the services of newServer over l, until the test's cleanup.
func serveListener(t *testing.T, l net.Listener, opts jsonrpc2.ListenerOptions, services ...any) *listener {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = servicetest.Quiet
	}
	if opts.Stats == nil {
		opts.Stats = new(jsonrpc2.ServerStats)
	}
	if opts.ListenerStats == nil {
		opts.ListenerStats = new(jsonrpc2.ListenerStats)
	}
	ctx, drain := context.WithCancel(context.Background())
	s := &listener{l, l.Addr().String(), drain, make(chan error, 1), opts.Stats, opts.ListenerStats}
	server := newServer(t, services...)
	go func() { s.done <- jsonrpc2.ServeListener(ctx, server, l, &opts) }()
	t.Cleanup(func() {
		s.end(t)
		require.Zero(t, s.calls.Snapshot().InFlight)
		counts := s.conns.Snapshot()
		require.Zero(t, counts.Open)
		require.Zero(t, counts.Unsent)
	})
	return s
}

// end drains the listener and waits until it is gone. It may be called again.
func (s *listener) end(t *testing.T) {
	t.Helper()
	s.drain()
	select {
	case err := <-s.done:
		require.NoError(t, err)
		s.done <- nil
	case <-time.After(servicetest.Soon):
		require.FailNow(t, "the listener does not end")
	}
}

// listen is serveListener with a listener of its own.
func listen(t *testing.T, network string, opts jsonrpc2.ListenerOptions, services ...any) *listener {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(shortTempDir(t), "s")
	}
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	return serveListener(t, l, opts, services...)
}

// dial returns a connection to the listener that is closed at the end of the test.
func (s *listener) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial(s.Addr().Network(), s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestListener(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			s := listen(t, network, jsonrpc2.ListenerOptions{})
			for range 3 {
				client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(s.dial(t)), nil)
				sum, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
				require.NoError(t, err)
				require.EqualValues(t, 6.1, sum)
				defer client.Close()
			}
			require.EqualValues(t, 3, s.conns.Snapshot().Open)
		})
	}
}
