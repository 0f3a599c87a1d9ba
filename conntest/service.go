package conntest

import (
	"context"
	"log/slog"
	"net/rpc"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// An echo is the service of the suite.
type echo struct {
	notes   chan string   // what Note got
	started chan string   // what Wait got
	release chan struct{} // ends every Wait
}

func newEcho() *echo {
	return &echo{make(chan string, 1000), make(chan string, 1000), make(chan struct{})}
}

func (e *echo) Text(text string, reply *string) error {
	*reply = text
	return nil
}

func (e *echo) Note(text string, _ *bool) error {
	e.notes <- text
	return nil
}

func (e *echo) Wait(text string, reply *string) error {
	e.started <- text
	<-e.release
	*reply = text
	return nil
}

// None is not for users of the package: it is the argument type of a method of the tests'
// own service, and exported since net/rpc requires that.
type None struct{ jsonrpc2.Context }

// Left returns for how long its caller will wait, 0 if that is not known.
func (e *echo) Left(args None, left *time.Duration) error {
	if deadline, ok := args.Deadline(); ok {
		*left = time.Until(deadline)
	}
	return nil
}

// Tenant returns what the metadata of its call has under this name.
func (e *echo) Tenant(args None, tenant *string) error {
	*tenant = jsonrpc2.CallFrom(args).Meta["tenant"]
	return nil
}

var quiet = slog.New(slog.DiscardHandler)

// serving is one Serve under way.
type serving struct {
	conn  *countingConn
	drain context.CancelFunc
	done  chan error // receives what Serve returned
	lossy bool       // Close may return an error: answers may be lost
}

// serve serves conn until the end of the test, or until it is drained.
func serve(t *testing.T, conn jsonrpc2.ServerConn, service *echo, opts jsonrpc2.ServerOptions) *serving {
	server := newServer(t, service)
	stats := new(jsonrpc2.ServerStats)
	opts.Service, opts.Logger, opts.Stats = "Echo", quiet, stats
	ctx, drain := context.WithCancel(context.Background())
	s := &serving{conn: &countingConn{ServerConn: conn}, drain: drain, done: make(chan error, 1)}
	go func() { s.done <- jsonrpc2.Serve(ctx, server, s.conn, &opts) }()
	t.Cleanup(func() {
		drain()
		s.conn.check(t)
		err := conn.Close()
		assert.True(t, err == nil || s.lossy, "%v", err)
		assert.Eventually(t, func() bool { return stats.Snapshot().InFlight == 0 }, patience, time.Millisecond,
			"calls that are not counted once when they end")
	})
	return s
}

func newServer(t *testing.T, service *echo) *rpc.Server {
	server := rpc.NewServer()
	require.NoError(t, server.RegisterName("Echo", service))
	return server
}

// wait waits for a drained Serve to return.
func (s *serving) wait(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case err := <-s.done:
		require.NoError(t, err)
		s.done <- nil
	case <-time.After(within):
		require.FailNow(t, "Serve has not returned")
	}
}

// A countingConn counts how often each Delivery is settled.
type countingConn struct {
	jsonrpc2.ServerConn

	mu      sync.Mutex
	settled []int
}

func (c *countingConn) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	d, err := c.ServerConn.ReadRequest(ctx)
	if err != nil {
		return d, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := len(c.settled)
	c.settled = append(c.settled, 0)
	settle := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.settled[i]++
	}
	reply, notRun := d.Reply, d.NotRun
	d.Reply = func(body []byte) error {
		settle()
		return reply(body)
	}
	if notRun != nil {
		d.NotRun = func() {
			settle()
			notRun()
		}
	}
	return d, nil
}

// check waits until every Delivery is settled, and requires that each is so once.
func (c *countingConn) check(t *testing.T) {
	t.Helper()
	assert.EventuallyWithT(t, func(t *assert.CollectT) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, n := range c.settled {
			assert.Equal(t, 1, n, "calls of a delivery's Reply or NotRun")
		}
	}, patience, time.Millisecond)
}
