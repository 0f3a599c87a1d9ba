package jsonrpc2_test

import (
	"context"
	"errors"
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
	t.Run("whose Conn has another codec", servicetest.Bubble(func(t *testing.T) {
		c := newClosing(t)
		other := jsonrpc2.NewClient(c.conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
		require.ErrorIs(t, other.Call("Test.Call", nil, nil), jsonrpc2.ErrOpened)
		synctest.Wait() // the other one reads
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.NoError(t, jsonrpc2.Shutdown(ctx, other))
		require.NoError(t, ctx.Err(), "it did not wait")
		require.NoError(t, c.conn.Err(), "it is not the other one's")
	}))
	t.Run("whose Conn has ended", servicetest.Bubble(func(t *testing.T) {
		c := newClosing(t)
		close(c.conn.messages)
		synctest.Wait()
		require.NoError(t, jsonrpc2.Shutdown(t.Context(), c.client))
		require.ErrorIs(t, c.conn.Err(), net.ErrClosed)
	}))
}

// A result that doesn't fit ends net/rpc's client. Shutdown waited for calls that net/rpc had
// ended with it, and that no longer could end.
func TestShutdownOfAClientThatHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClosing(t)
		plain := c.client.Go("Test.Call", nil, new(int), nil)
		first := requests(t, <-c.conn.written)[0]
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		other := make(chan error, 1)
		go func() {
			_, err := jsonrpc2.Call[string](ctx, c.client, "Test.Call", nil)
			other <- err
		}()
		c.conn.mute()
		notified := notify(c.client, "Test.Call", nil)
		done := c.shutdown(t.Context())
		c.conn.answer(answerTo(first)) // a string
		require.ErrorContains(t, (<-plain.Done).Error, jsonrpc2.ErrBadReply.Error())
		require.ErrorIs(t, <-other, jsonrpc2.ErrReplyLost)
		require.ErrorIs(t, <-notified, jsonrpc2.ErrUnconfirmed)
		require.NoError(t, <-done)
		require.Equal(t, jsonrpc2.ClientCounts{Calls: 2, Notifications: 1, BadReplies: 1, RepliesLost: 1, Unconfirmed: 1}, c.stats.Snapshot())
	})
}

// The decoding of a slowResult takes until its gate is closed.
type slowResult struct{ gate chan struct{} }

func (r *slowResult) UnmarshalJSON([]byte) error {
	<-r.gate
	return nil
}

// Shutdown returned when the answer was there, and before its call had.
func TestShutdownWaitsForTheDecoding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClosing(t)
		result := &slowResult{make(chan struct{})}
		call := c.client.Go("Test.Call", nil, result, nil)
		done := c.shutdown(t.Context())
		c.conn.answer(answerTo(requests(t, <-c.conn.written)[0]))
		synctest.Wait()
		require.Empty(t, done)
		close(result.gate)
		require.NoError(t, (<-call.Done).Error)
		require.NoError(t, <-done)
	})
}

// An unsentConn can't send all that was handed to it.
type unsentConn struct{ *scriptedClient }

var errUnsent = errors.New("17 bytes unsent")

func (c unsentConn) Close() error {
	_ = c.scriptedClient.Close()
	return errUnsent
}

// A hurriedConn fails what is left a second after Close.
type hurriedConn struct{ *scriptedClient }

func (c hurriedConn) Close() error {
	time.Sleep(time.Second)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.requests {
		r.Fail(jsonrpc2.ErrUnavailable)
	}
	return c.scriptedClient.Close()
}

// What the Conn fails in its Close was under way, too. Shutdown said that all had ended, and
// Begin was never told of the call.
func TestShutdownCountsWhatCloseFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, j, stats := newScriptedClient().mute(), new(journal), new(jsonrpc2.ClientStats)
		client := jsonrpc2.NewClient(hurriedConn{conn}, &jsonrpc2.ClientOptions{Begin: j.named, Logger: servicetest.Quiet, Stats: stats})
		called := make(chan error, 1)
		go func() {
			_, err := jsonrpc2.Call[string](context.Background(), client, "Test.Call", nil)
			called <- err
		}()
		<-conn.written
		notified := notify(client, "Test.Notify", nil)
		<-conn.written
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := jsonrpc2.Shutdown(ctx, client)
		require.EqualError(t, err, "jsonrpc2: client closed with requests under way: 2: context deadline exceeded")
		require.ErrorIs(t, <-called, jsonrpc2.ErrReplyLost)
		require.ErrorIs(t, <-notified, jsonrpc2.ErrUnavailable)
		require.ElementsMatch(t, []string{
			"call Test.Call", "notification Test.Notify",
			"Test.Call ended: reply lost", "Test.Notify ended: " + jsonrpc2.ErrUnavailable.Error(),
		}, j.take())
		require.Equal(t, jsonrpc2.ClientCounts{Calls: 1, Notifications: 1, Closed: 1, Unsent: 1}, stats.Snapshot())
	})
}

// The error of a Shutdown that did not end in time says so, whatever else went wrong, and
// whoever has closed the client.
func TestShutdownTooLate(t *testing.T) {
	for name, test := range map[string]struct {
		conn func(*scriptedClient) jsonrpc2.ClientConn
		also error
	}{
		"in good order": {func(c *scriptedClient) jsonrpc2.ClientConn { return c }, context.DeadlineExceeded},
		"unsent":        {func(c *scriptedClient) jsonrpc2.ClientConn { return unsentConn{c} }, errUnsent},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			client := jsonrpc2.NewClient(test.conn(newScriptedClient()), &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
			call := client.Go("Test.Call", nil, nil, nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			const at = 3
			errs := make(chan error, at)
			for range at {
				go func() { errs <- jsonrpc2.Shutdown(ctx, client) }()
			}
			var all error
			for range at {
				err := <-errs
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.ErrorContains(t, err, "requests under way: 1")
				all = errors.Join(all, err)
			}
			require.ErrorIs(t, all, test.also)
			require.Error(t, (<-call.Done).Error)
		}))
	}
}
