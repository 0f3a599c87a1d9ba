package jsonrpc2_test

import (
	"context"
	"net"
	"net/rpc"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A closing is a client that a test shuts down, in a synctest bubble.
type closing struct {
	conn   *scriptedClient
	client *rpc.Client
	stats  *jsonrpc2.ClientStats
}

func newClosing(t *testing.T) closing {
	c := closing{conn: newScriptedClient(), stats: new(jsonrpc2.ClientStats)}
	c.client = jsonrpc2.NewClient(c.conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet, Stats: c.stats})
	t.Cleanup(func() { _ = c.client.Close() })
	return c
}

// call begins a call, and returns what it will end with.
func (c closing) call() <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := jsonrpc2.Call[string](context.Background(), c.client, "Test.Call", nil)
		done <- err
	}()
	synctest.Wait()
	return done
}

// shutdown begins a Shutdown, and returns what it will return.
func (c closing) shutdown(ctx context.Context) <-chan error {
	done := make(chan error, 1)
	go func() { done <- jsonrpc2.Shutdown(ctx, c.client) }()
	synctest.Wait()
	return done
}

func (c closing) requireRefuses(t *testing.T) {
	t.Helper()
	for _, err := range []error{
		<-c.call(),
		jsonrpc2.Notify(t.Context(), c.client, "Test.Call", nil),
		c.client.Call("Test.Call", nil, new(string)),
	} {
		require.ErrorIs(t, err, rpc.ErrShutdown)
	}
	require.ErrorIs(t, <-c.call(), jsonrpc2.ErrUnavailable)
}

func TestShutdownWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClosing(t)
		calls := []<-chan error{c.call(), c.call()}
		c.conn.mute()
		notified := notify(c.client, "Test.Call", nil)
		notification := c.conn.last()
		first, second := c.shutdown(t.Context()), c.shutdown(t.Context())
		c.requireRefuses(t)
		for i := range calls {
			c.conn.answer(answerTo(requests(t, <-c.conn.written)[0]))
			require.NoError(t, <-calls[i])
			synctest.Wait()
			require.Empty(t, first)
			require.NoError(t, c.conn.Err(), "it is open")
		}
		notification.Sent()
		requireSent(t, notified)
		errs := []error{<-first, <-second}
		require.Contains(t, errs, nil)
		require.Contains(t, errs, rpc.ErrShutdown, "the other one has closed it")
		require.ErrorIs(t, c.conn.Err(), net.ErrClosed)
		c.requireRefuses(t)
	})
}

func TestShutdownWaitsNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClosing(t)
		answered, left := c.call(), c.call()
		c.conn.answer(answerTo(requests(t, <-c.conn.written)[0]))
		require.NoError(t, <-answered)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin := time.Now()
		err := jsonrpc2.Shutdown(ctx, c.client)
		require.Equal(t, time.Second, time.Since(begin))
		require.EqualError(t, err, "jsonrpc2: client closed with requests under way: 1: context deadline exceeded")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, <-left, jsonrpc2.ErrReplyLost)
		require.ErrorIs(t, c.conn.Err(), net.ErrClosed)
	})
}

// What times out is waited for until its caller has heard what became of it.
func TestShutdownOfOverdueCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClosing(t)
		overdue := c.call()
		require.NoError(t, jsonrpc2.Shutdown(t.Context(), c.client))
		require.ErrorIs(t, <-overdue, jsonrpc2.ErrTimeout)
		require.EqualValues(t, 1, c.stats.Snapshot().Timeouts)
	})
}

func TestShutdownOfIdleClients(t *testing.T) {
	canceled, cancel := context.WithCancel(context.Background())
	cancel()
	for name, ctx := range map[string]context.Context{"in time": context.Background(), "at once": canceled} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			c := newClosing(t)
			require.NoError(t, jsonrpc2.Shutdown(ctx, c.client))
			require.ErrorIs(t, c.conn.Err(), net.ErrClosed)
			c.requireRefuses(t)
			require.Equal(t, rpc.ErrShutdown, jsonrpc2.Shutdown(ctx, c.client))
		}))
	}
	t.Run("whose Conn has ended", servicetest.Bubble(func(t *testing.T) {
		c := newClosing(t)
		close(c.conn.messages)
		synctest.Wait()
		require.NoError(t, jsonrpc2.Shutdown(t.Context(), c.client))
		require.ErrorIs(t, c.conn.Err(), net.ErrClosed)
	}))
}
