package jsonrpc2_test

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// An inquiredConn is a Conn that knows each request by its number.
type inquiredConn struct {
	*scriptedClient
	sent int
	asks chan ask
	gate chan struct{} // if not nil, what is written waits for it
}

// An ask is an Inquire that waits for its answer.
type ask struct {
	ctx      context.Context
	requests []any // their handles
	answer   chan []error
}

func (c *inquiredConn) WriteRequest(r *jsonrpc2.Request) error {
	c.sent++
	if c.gate != nil {
		<-c.gate
	}
	r.Handle = c.sent
	return c.scriptedClient.WriteRequest(r)
}

func (c *inquiredConn) Inquire(ctx context.Context, requests []*jsonrpc2.Request) []error {
	a := ask{ctx: ctx, answer: make(chan []error, 1)}
	for _, r := range requests {
		a.requests = append(a.requests, r.Handle)
	}
	c.asks <- a
	select {
	case found := <-a.answer:
		return found
	case <-ctx.Done():
		return nil
	}
}

// answer answers the next ask.
func (c *inquiredConn) answer(found ...error) ask {
	a := <-c.asks
	a.answer <- found
	return a
}

func newInquired(t *testing.T, timeout time.Duration, stats *jsonrpc2.ClientStats) (*inquiredConn, *rpc.Client) {
	conn := &inquiredConn{scriptedClient: newScriptedClient(), asks: make(chan ask)}
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Timeout: timeout, Stats: stats, Logger: servicetest.Quiet})
	t.Cleanup(func() { _ = client.Close() })
	return conn, client
}

var errWithdrawn = fmt.Errorf("%w: it was withdrawn", jsonrpc2.ErrNotRun)

// The error of a call that timed out says what the Conn has found out.
func TestInquiry(t *testing.T) {
	for name, test := range map[string]struct {
		found []error
		text  string // behind that of the timeout
	}{
		"withdrawn": {[]error{errWithdrawn}, ": jsonrpc2: not run: it was withdrawn"},
		"told":      {[]error{errors.New("4 requests wait")}, ": 4 requests wait"},
		"nothing":   {[]error{nil}, ""},
		"none":      {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stats := new(jsonrpc2.ClientStats)
				conn, client := newInquired(t, time.Second, stats)
				go conn.answer(test.found...)
				took, err := timed(func() error { return callTest(t.Context(), client) })
				require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
				require.Equal(t, name == "withdrawn", errors.Is(err, jsonrpc2.ErrNotRun))
				require.EqualError(t, err, "jsonrpc2: call timed out after 1s"+test.text)
				require.Equal(t, time.Second, took)

				go conn.answer(test.found...)
				err = client.Call("Test.Call", nil, nil)
				require.EqualError(t, err, "jsonrpc2: call timed out after 1s"+test.text)
				_, answered := jsonrpc2.AsError(err)
				require.False(t, answered)

				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				go conn.answer(test.found...)
				took, err = timed(func() error { return callTest(ctx, client) })
				require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, name == "withdrawn", errors.Is(err, jsonrpc2.ErrNotRun))
				require.EqualError(t, err, "jsonrpc2: call timed out: Test.Call: context deadline exceeded"+test.text)
				require.Equal(t, time.Minute, took)
				require.EqualValues(t, 3, stats.Snapshot().Timeouts)
			})
		})
	}
}

// A Conn that takes its time holds no call up for longer than half a second, also
// those that end while it is being asked. Answers that come then are late.
func TestInquiryTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stats := new(jsonrpc2.ClientStats)
		conn, client := newInquired(t, time.Second, stats)
		conn.asks = make(chan ask, 100) // that nobody answers
		took := make(chan time.Duration, 100)
		for range 5 {
			for range 2 {
				go func() {
					d, _ := timed(func() error { return client.Call("Test.Call", nil, nil) })
					took <- d
				}()
			}
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(900 * time.Millisecond)
		synctest.Wait()
		require.Empty(t, took)
		require.Len(t, conn.asks, 1)
		require.ElementsMatch(t, []any{1, 2}, (<-conn.asks).requests, "those that ended together")
		for len(conn.written) > 0 {
			conn.scriptedClient.answer(`{"jsonrpc":"2.0","id":` + string(idOf(t, <-conn.written)) + `,"result":1}`)
		}
		for range 10 {
			require.LessOrEqual(t, <-took, 1500*time.Millisecond)
		}
		require.EqualValues(t, 10, stats.Snapshot().Dropped)
		require.EqualValues(t, 10, stats.Snapshot().Timeouts)
	})
}

// A call that is given up returns at once, and what the Conn keeps of it is
// withdrawn, before the codec is closed.
func TestInquiryOfCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, client := newInquired(t, 0, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		took, err := timed(func() error { return callTest(ctx, client) })
		require.EqualError(t, err, "jsonrpc2: Test.Call: context canceled")
		require.Equal(t, time.Second, took)

		closed := make(chan struct{})
		go func() {
			defer close(closed)
			_ = client.Close()
		}()
		synctest.Wait()
		select {
		case <-closed:
			require.Fail(t, "closed before the request was withdrawn")
		default:
		}
		require.Equal(t, []any{1}, conn.answer(errWithdrawn).requests)
		<-closed
	})
}

// While other calls of its batch go on, a call that was given up is inquired of without a
// handle: to withdraw the batch would end the others. When all are given up, the Conn is asked
// about the batch, by its handle. A call that was sent alone has a handle, too.
func TestInquiryOfBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &inquiredConn{scriptedClient: newScriptedClient(), asks: make(chan ask), gate: make(chan struct{})}
		client := jsonrpc2.NewClient(jsonrpc2.Batch(conn, nil), &jsonrpc2.ClientOptions{Timeout: time.Second, Logger: servicetest.Quiet})
		defer client.Close()
		alone := client.Go("Test.Call", nil, nil, nil)
		conn.gate <- struct{}{}
		require.Equal(t, []any{1}, conn.answer(errWithdrawn).requests)
		require.ErrorContains(t, (<-alone.Done).Error, errWithdrawn.Error())

		notify(client, "Test.Call", nil)
		first := client.Go("Test.Call", nil, nil, nil)
		second := client.Go("Test.Call", nil, nil, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/2, cancel)
		time.AfterFunc(time.Second/4, func() { close(conn.gate) })
		given := make(chan error)
		go func() { given <- callTest(ctx, client) }()
		require.Equal(t, []any{nil}, conn.answer(errors.New("nothing is known")).requests)
		require.ErrorIs(t, <-given, context.Canceled)
		require.Equal(t, []any{3}, conn.answer(errWithdrawn).requests)
		want := "jsonrpc2: call timed out after 1s: " + errWithdrawn.Error()
		require.EqualError(t, (<-first.Done).Error, want)
		require.EqualError(t, (<-second.Done).Error, want)
		require.Len(t, conn.written, 3)
	})
}

// A call that ends while it waits to be joined was not sent, and will not be. The Conn is not
// asked about it.
func TestInquiryOfUnsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &inquiredConn{scriptedClient: newScriptedClient(), asks: make(chan ask), gate: make(chan struct{})}
		client := jsonrpc2.NewClient(jsonrpc2.Batch(conn, nil), &jsonrpc2.ClientOptions{Timeout: time.Second, Logger: servicetest.Quiet})
		defer client.Close()
		notify(client, "Test.Call", nil) // it is being sent
		time.AfterFunc(1200*time.Millisecond, func() { close(conn.gate) })
		err := callTest(t.Context(), client)
		require.ErrorIs(t, err, jsonrpc2.ErrNotRun)
		require.EqualError(t, err, "jsonrpc2: call timed out after 1s: jsonrpc2: not run: it had not been sent")
		require.Len(t, conn.written, 1)
	})
}

// If the Conn below a Batch knows nothing of a call, the error of the call adds nothing.
func TestInquiryOfBatchOfNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := jsonrpc2.NewClient(jsonrpc2.Batch(newScriptedClient(), nil), &jsonrpc2.ClientOptions{Timeout: time.Second, Logger: servicetest.Quiet})
		defer client.Close()
		require.EqualError(t, callTest(t.Context(), client), "jsonrpc2: call timed out after 1s")
	})
}
