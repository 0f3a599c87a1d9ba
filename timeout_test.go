package jsonrpc2_test

import (
	"context"
	"errors"
	"net/rpc"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// timed calls by f, and returns what it returned and how long it took.
func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

func callTest(ctx context.Context, client *rpc.Client) error {
	_, err := jsonrpc2.Call[int](ctx, client, "Test.Call", nil)
	return err
}

func TestTimeout(t *testing.T) {
	for name, test := range map[string]struct {
		set, want time.Duration
	}{
		"default": {0, 30 * time.Second},
		"set":     {time.Second, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stats := new(jsonrpc2.ClientStats)
				p := newPeer(t, jsonrpc2.ClientOptions{Timeout: test.set, Stats: stats})
				took, err := timed(func() error { return callTest(t.Context(), p.client) })
				require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
				require.Equal(t, test.want, took)
				p.requireNothingLeft(t)

				took, err = timed(func() error { return p.client.Call("Test.Call", nil, new(int)) })
				require.EqualError(t, err, "jsonrpc2: call timed out after "+test.want.String())
				require.Equal(t, test.want, took)
				p.requireNothingLeft(t)
				_, answered := jsonrpc2.AsError(err)
				require.False(t, answered)

				for range 2 { // late answers
					p.answer(t, <-p.requests, "7")
				}
				synctest.Wait()
				p.requireAlive(t)
				require.EqualValues(t, 2, stats.Snapshot().Timeouts)
				require.EqualValues(t, 2, stats.Snapshot().Dropped)
			})
		})
	}
}

// Timeouts counts the calls that the client's Timeout or the deadline of a ctx has ended, and
// not those that were canceled.
func TestTimeoutsAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stats := new(jsonrpc2.ClientStats)
		p := newPeer(t, jsonrpc2.ClientOptions{Timeout: time.Minute, Stats: stats})
		require.ErrorIs(t, callTest(t.Context(), p.client), jsonrpc2.ErrTimeout)
		require.EqualValues(t, 1, stats.Snapshot().Timeouts)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, callTest(ctx, p.client), jsonrpc2.ErrTimeout)
		require.EqualValues(t, 2, stats.Snapshot().Timeouts)

		ctx, cancel = context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		require.ErrorIs(t, callTest(ctx, p.client), context.Canceled)
		require.EqualValues(t, 2, stats.Snapshot().Timeouts)
	})
}

// An error that names no call may be about any of those that wait, and so fails none. The
// errors of calls that time out later quote it.
func TestTimeoutTellsOfNamelessError(t *testing.T) {
	const nameless = `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no such version"}}`
	const told = `; an error that names no call came meanwhile: "no such version (JSON-RPC error -32600)"`
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, jsonrpc2.ClientOptions{})
		plain := p.client.Go("Test.Call", nil, new(int), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		typed := make(chan error, 1)
		go func() { typed <- callTest(ctx, p.client) }()
		<-p.requests
		p.send(t, <-p.requests, nameless)
		synctest.Wait()
		later := p.client.Go("Test.Call", nil, new(int), nil)

		err := (<-plain.Done).Error
		require.EqualError(t, err, "jsonrpc2: call timed out after 30s"+told)
		_, answered := jsonrpc2.AsError(err)
		require.False(t, answered, "no server sent that error for this call")
		require.EqualError(t, (<-later.Done).Error, "jsonrpc2: call timed out after 30s", "it was sent afterwards")
		err = <-typed
		require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.True(t, strings.HasSuffix(err.Error(), told), err)
		_, answered = jsonrpc2.AsError(err)
		require.False(t, answered)
		synctest.Wait()
		p.requireNothingLeft(t)
	})
}

func TestTimeoutNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, jsonrpc2.ClientOptions{Timeout: -1})
		call := p.client.Go("Test.Call", nil, new(int), nil)
		time.Sleep(1000 * time.Hour)
		p.answer(t, <-p.requests, "7")
		require.NoError(t, (<-call.Done).Error)
		require.Equal(t, 7, *call.Reply.(*int))
	})
}

// Each call has its own timeout, whatever becomes of those before and behind it.
func TestTimeoutOfEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, jsonrpc2.ClientOptions{Timeout: 10 * time.Second})
		start := time.Now()
		var calls []*rpc.Call
		for range 30 {
			calls = append(calls, p.client.Go("Test.Call", nil, new(int), nil))
			time.Sleep(time.Second)
			if n := len(calls); n%3 == 0 { // one that waits in the middle
				go p.answer(t, <-p.requests, "7")
			} else if r := <-p.requests; n%3 == 1 {
				defer p.answer(t, r, "7") // late
			}
		}
		timeouts := 0
		for i, call := range calls {
			err := (<-call.Done).Error
			if (i+1)%3 == 0 {
				require.NoError(t, err)
				continue
			}
			timeouts++
			require.ErrorContains(t, err, jsonrpc2.ErrTimeout.Error())
		}
		require.Equal(t, 20, timeouts)
		require.Equal(t, 28*time.Second+10*time.Second, time.Since(start), "the last but one timed out last")
		p.requireNothingLeft(t)
		p.requireAlive(t)
	})
}

// A ctx with a deadline stands in for the Timeout, be it shorter or longer.
func TestCallDeadline(t *testing.T) {
	for name, d := range map[string]time.Duration{"shorter": time.Second, "longer": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t, jsonrpc2.ClientOptions{Timeout: time.Minute})
				ctx, cancel := context.WithTimeout(t.Context(), d)
				defer cancel()
				took, err := timed(func() error { return callTest(ctx, p.client) })
				require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.True(t, strings.HasPrefix(err.Error(), jsonrpc2.ErrTimeout.Error()))
				require.Equal(t, d, took)
				synctest.Wait()
				p.requireNothingLeft(t)
				p.answer(t, <-p.requests, "7")
				p.requireAlive(t)
			})
		})
	}
}

func TestCallCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, jsonrpc2.ClientOptions{})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		took, err := timed(func() error { return callTest(ctx, p.client) })
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, jsonrpc2.ErrTimeout)
		require.Equal(t, time.Second, took)
		synctest.Wait()
		p.requireNothingLeft(t)
		p.answer(t, <-p.requests, "7")
		p.requireAlive(t)

		require.ErrorIs(t, callTest(ctx, p.client), context.Canceled)
		require.Empty(t, p.requests, "nothing was sent")
	})
}

func TestCallCanceledWithCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, jsonrpc2.ClientOptions{})
		why := errors.New("the user went away")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(why) })
		err := callTest(ctx, p.client)
		require.ErrorIs(t, err, why)
		require.ErrorIs(t, err, context.Canceled)

		ctx, stop := context.WithTimeoutCause(t.Context(), time.Second, why)
		defer stop()
		err = callTest(ctx, p.client)
		require.ErrorIs(t, err, why)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	})
}

// What Call returned is the caller's alone: the answer may come at the very
// moment of giving up. The race detector is the judge.
func TestCallCanceledWhileAnswered(t *testing.T) {
	p := newPeer(t, jsonrpc2.ClientOptions{})
	for range 500 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			result, err := jsonrpc2.Call[[]int](ctx, p.client, "Test.Call", nil)
			if err == nil {
				assert.Len(t, result, 3)
			}
			result = append(result[:0], 1)
			_ = result
		}()
		r := <-p.requests
		go cancel()
		p.answer(t, r, "[1,2,3]")
		<-done
	}
	p.requireAlive(t)
	p.requireNothingLeft(t)
}

// A request ends with its call, and so does its context: what still waits need not
// be sent.
func TestRequestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newScriptedClient()
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Timeout: time.Minute, Logger: servicetest.Quiet})
		defer client.Close()

		client.Go("Test.Call", nil, nil, nil)
		r := conn.last()
		require.Equal(t, time.Minute, time.Until(r.Deadline()))
		requireDeadline(t, r.Context(), time.Minute)
		require.NoError(t, r.Context().Err())
		require.False(t, r.GivenUp())
		time.Sleep(time.Minute)
		synctest.Wait()
		require.ErrorIs(t, r.Context().Err(), context.DeadlineExceeded)
		require.True(t, r.GivenUp())

		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		go callTest(ctx, client)
		synctest.Wait()
		r = conn.last()
		requireDeadline(t, r.Context(), time.Hour)
		child, end := context.WithCancel(r.Context())
		defer end()
		cancel()
		<-child.Done()
		require.ErrorIs(t, r.Context().Err(), context.Canceled)

		require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Test.Call", nil))
		_, ok := conn.last().Context().Deadline()
		require.False(t, ok)
		require.True(t, conn.last().GivenUp(), "it is sent")

		call := client.Go("Test.Call", nil, nil, nil)
		r = conn.last()
		stop := context.AfterFunc(r.Context(), func() { assert.Fail(t, "was stopped") })
		require.True(t, stop())
		require.False(t, stop())
		for len(conn.written) > 1 {
			<-conn.written
		}
		conn.answer(`{"jsonrpc":"2.0","id":` + string(idOf(t, <-conn.written)) + `,"result":1}`)
		<-call.Done
		require.True(t, r.GivenUp(), "it is answered")
		<-r.Context().Done()
		ended := make(chan struct{})
		stop = context.AfterFunc(r.Context(), func() { close(ended) })
		<-ended
		require.False(t, stop())
	})
}

func requireDeadline(t *testing.T, ctx context.Context, want time.Duration) {
	t.Helper()
	deadline, ok := ctx.Deadline()
	require.True(t, ok)
	require.Equal(t, want, time.Until(deadline))
}
