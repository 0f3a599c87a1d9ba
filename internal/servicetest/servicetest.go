// Package servicetest has what tests of several transports serve, call and log with.
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
	// Soon is for what should not take long.
	Soon = time.Minute

	// Tick is between two looks at a condition.
	Tick = 5 * time.Millisecond
)

// Eventually requires that a condition holds soon.
func Eventually(t *testing.T, condition func() bool, msgAndArgs ...any) {
	t.Helper()
	require.Eventually(t, condition, Soon, Tick, msgAndArgs...)
}

// EventuallyEqual requires that get returns want soon. Counts are compared by it:
// an end counts a call as done after it has sent the answer, which its caller may
// see first.
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

// A Server is one that runs.
type Server struct {
	Drain context.CancelFunc
	Done  chan struct{} // closed when Serve has returned
	Err   error         // what it returned
}

// Serve serves Calc and the other services given over conn, until the test's cleanup.
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

// End drains the server and waits until it is gone.
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

// Must returns what a constructor has made of good options.
func Must[T any](made T, err error) T {
	if err != nil {
		panic(err)
	}
	return made
}
