// Package servicetest has what tests of several transports serve, call and log with.
package servicetest

import (
	"bytes"
	"context"
	"log/slog"
	"net/rpc"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
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

// Add has a server's Calc add two numbers.
func Add(client *rpc.Client, a, b float64) (float64, error) {
	return jsonrpc2.Call[float64](context.Background(), client, "Calc.Add", calc.Args{A: a, B: b})
}

// RequireAdds requires that a call is answered.
func RequireAdds(t *testing.T, client *rpc.Client) {
	t.Helper()
	sum, err := Add(client, 1, 5.1)
	require.NoError(t, err)
	require.Equal(t, 6.1, sum)
}

// Slow is a service whose calls run until they are let go.
type Slow struct {
	Gate               chan struct{} // each value lets a call go, its closing all
	Running, Most, Ran atomic.Int64

	opening sync.Once
	mu      sync.Mutex // protects following
	order   []int
}

// NewSlow returns a Slow.
func NewSlow() *Slow { return &Slow{Gate: make(chan struct{})} }

// Wait returns n. It waits for Gate before.
func (s *Slow) Wait(n int, reply *int) error {
	s.mu.Lock()
	s.order = append(s.order, n)
	s.Most.Store(max(s.Most.Load(), s.Running.Add(1)))
	s.mu.Unlock()
	<-s.Gate
	s.Running.Add(-1)
	s.Ran.Add(1)
	*reply = n
	return nil
}

// Open lets all calls go.
func (s *Slow) Open() { s.opening.Do(func() { close(s.Gate) }) }

// Order returns what was asked for, in the order in which it began.
func (s *Slow) Order() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.order...)
}

// RequireRunning requires that soon so many calls run.
func (s *Slow) RequireRunning(t *testing.T, n int64) {
	t.Helper()
	Eventually(t, func() bool { return s.Running.Load() == n }, "want %d running calls", n)
}

// Counter is a service that counts its calls.
type Counter struct{ N atomic.Int64 }

// Count returns how many calls there were.
func (c *Counter) Count(_ struct{}, n *int64) error {
	*n = c.N.Add(1)
	return nil
}

// Runs returns how often each number stands in what a service has noted: a line for each
// run.
func Runs(t *testing.T, notes []byte) map[int]int {
	t.Helper()
	runs := make(map[int]int)
	for line := range bytes.Lines(notes) {
		n, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		require.NoError(t, err)
		runs[n]++
	}
	return runs
}

// Quiet is a logger for what a test does not look at.
var Quiet = slog.New(slog.DiscardHandler)

// A LogBook keeps what is logged.
type LogBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write keeps what a handler writes.
func (l *LogBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

// Logger returns a logger that writes into the book.
func (l *LogBook) Logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// Count returns how many lines contain all the words.
func (l *LogBook) Count(words ...string) (n int) {
	for line := range strings.Lines(l.String()) {
		n++
		for _, word := range words {
			if !strings.Contains(line, word) {
				n--
				break
			}
		}
	}
	return n
}

func (l *LogBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
