// Package servicetest has the services, calls, servers and loggers that the tests of several
// transports share.
package servicetest

import (
	"context"
	"net/rpc"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

const (
	// Soon is how long a test waits for what must happen.
	Soon = time.Minute

	// Tick is the time between two checks of a condition.
	Tick = 5 * time.Millisecond
)

// Eventually requires that a condition holds soon.
func Eventually(t *testing.T, condition func() bool, msgAndArgs ...any) {
	t.Helper()
	require.Eventually(t, condition, Soon, Tick, msgAndArgs...)
}

// EventuallyEqual requires that get returns want soon. Use it to compare counts: a server
// counts a call as done after it has sent the answer, so the caller may have the answer
// before the count has changed.
func EventuallyEqual[T comparable](t *testing.T, want T, get func() T, msgAndArgs ...any) {
	t.Helper()
	got := get()
	for start := time.Now(); got != want && time.Since(start) < Soon; got = get() {
		time.Sleep(Tick)
	}
	require.Equal(t, want, got, msgAndArgs...)
}

// Bubble makes a test run in a synctest bubble.
func Bubble(test func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, test) }
}

// A Server is a running jsonrpc2.Serve.
type Server struct {
	Drain context.CancelFunc
	Done  chan struct{} // closed when Serve has returned
	Err   error         // the error of Serve; read it after Done
}

// Serve serves Calc and services over conn. The test's cleanup ends the server: it requires
// that Serve returns nil, and that no call counts as in flight. If the test has failed, it
// also opens each Slow, whose calls would hold up the drain.
func Serve(t *testing.T, conn jsonrpc2.ServerConn, codec jsonrpc2.ServerOptions, services ...any) *Server {
	t.Helper()
	server := rpc.NewServer()
	for _, service := range append(services, calc.Calc{}) {
		require.NoError(t, server.Register(service))
	}
	codec.Service = "Calc"
	if codec.Stats == nil {
		codec.Stats = new(jsonrpc2.ServerStats)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &Server{Drain: cancel, Done: make(chan struct{})}
	go func() {
		defer close(s.Done)
		s.Err = jsonrpc2.Serve(ctx, server, conn, &codec)
	}()
	t.Cleanup(func() {
		for _, service := range services {
			if slow, ok := service.(*Slow); ok && t.Failed() {
				slow.Open()
			}
		}
		s.End(t)
		require.Zero(t, codec.Stats.Snapshot().InFlight, "calls that are not counted once when they end")
	})
	return s
}

// End drains the server and requires that Serve returns nil.
func (s *Server) End(t *testing.T) {
	t.Helper()
	require.NoError(t, s.Ended(t))
}

// Ended drains the server and returns what Serve returned.
func (s *Server) Ended(t *testing.T) error {
	t.Helper()
	s.Drain()
	select {
	case <-s.Done:
	case <-time.After(Soon):
		require.FailNow(t, "the server does not end")
	}
	return s.Err
}

// Must returns made, the result of a constructor. It panics if err is set.
func Must[T any](made T, err error) T {
	if err != nil {
		panic(err)
	}
	return made
}
