package jsonrpc2_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestBatchCallsEndApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		var calls []*batched
		sent := b.together(t, func() {
			calls = append(calls, b.call("A", 0), b.call("B", time.Second), b.call("C", 0), b.call("D", 0))
		})
		require.Len(t, sent, 1)
		calls[0].cancel()
		calls[0].requireDone(t)
		require.ErrorIs(t, calls[0].err, context.Canceled)
		time.Sleep(time.Second)
		calls[1].requireDone(t)
		require.ErrorIs(t, calls[1].err, jsonrpc2.ErrTimeout)
		calls[2].requireWaiting(t)

		r := requests(t, sent[0])
		b.answer(array(answerTo(r[0]), answerTo(r[1]), answerTo(r[2])))
		calls[2].requireAnswered(t)
		time.Sleep(jsonrpc2.DefaultTimeout - time.Second - 1)
		calls[3].requireWaiting(t)
		time.Sleep(time.Nanosecond)
		calls[3].requireDone(t)
		require.ErrorIs(t, calls[3].err, jsonrpc2.ErrTimeout)
		require.EqualValues(t, 2, b.stats.Snapshot().Dropped, "answers that came late")
		b.requireNothingLeft(t)
	})
}

// A call that is given up while it waits is not sent.
func TestBatchGivenUpUnsent(t *testing.T) {
	for _, test := range []struct {
		canceled string
		want     []string
	}{
		{"A", []string{"BC"}},
		{"B", []string{"AC"}},
		{"AC", []string{"B"}},
		{"ABC", nil},
		{"", []string{"ABC"}},
	} {
		t.Run("not "+test.canceled, servicetest.Bubble(func(t *testing.T) {
			b := newBatching(t, nil)
			sent := b.together(t, func() {
				for _, name := range []string{"A", "B", "C"} {
					call := b.call(name, 0)
					if strings.Contains(test.canceled, name) {
						call.cancel()
						call.requireDone(t)
						require.ErrorIs(t, call.err, context.Canceled)
					}
				}
			})
			var got []string
			for _, message := range sent {
				got = append(got, strings.Join(methods(t, message), ""))
			}
			require.Equal(t, test.want, got)
		}))
	}
	t.Run("timed out", servicetest.Bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		sent := b.together(t, func() {
			late := b.client.Go("Test.Late", nil, nil, nil)
			time.Sleep(jsonrpc2.DefaultTimeout)
			require.ErrorContains(t, (<-late.Done).Error, jsonrpc2.ErrTimeout.Error())
		})
		require.Empty(t, sent)
	}))
}

func TestBatchContext(t *testing.T) {
	for _, test := range []struct {
		name     string
		timeouts []time.Duration // 0: the client's own
		want     time.Duration
	}{
		{"the latest", []time.Duration{time.Second, time.Minute, time.Millisecond}, time.Minute},
		{"the first", []time.Duration{time.Hour, time.Minute}, time.Hour},
		{"the client's", []time.Duration{time.Second, 0}, jsonrpc2.DefaultTimeout},
		{"beyond the client's", []time.Duration{time.Hour, 0}, time.Hour},
		{"of one", []time.Duration{time.Hour}, time.Hour},
	} {
		t.Run(test.name, servicetest.Bubble(func(t *testing.T) {
			b := newBatching(t, nil)
			b.together(t, func() {
				for i, timeout := range test.timeouts {
					b.call(string(rune('A'+i)), timeout)
				}
			})
			ctx := b.conn.last().Context()
			requireDeadline(t, ctx, test.want)
			require.Equal(t, "A", ctx.Value(traceKey{}))
			time.Sleep(test.want - 1)
			require.NoError(t, ctx.Err())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
			<-ctx.Done()
		}))
	}
	t.Run("none", servicetest.Bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		sent := b.together(t, func() {
			b.conn.mute()
			b.call("A", 0)
			b.notify("B", nil)
		})
		require.Len(t, sent, 1)
		ctx := b.conn.last().Context()
		_, ok := ctx.Deadline()
		require.False(t, ok, "a notification has no deadline")
		begin := time.Now()
		<-ctx.Done()
		require.Equal(t, jsonrpc2.DefaultTimeout, time.Since(begin), "but its sender waits no longer")
	}))
	t.Run("all given up", servicetest.Bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B", "C")
		r := b.conn.last()
		for _, call := range calls {
			require.NoError(t, r.Context().Err())
			require.False(t, r.GivenUp())
			call.cancel()
			call.requireDone(t)
		}
		require.ErrorIs(t, r.Context().Err(), context.Canceled)
		require.True(t, r.GivenUp())
	}))
	t.Run("all answered", servicetest.Bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		_, batch := b.calls(t, "A", "B")
		r := b.conn.last()
		b.answer(answerTo(requests(t, batch)[1]))
		require.False(t, r.GivenUp())
		b.answer(answerTo(requests(t, batch)[0]))
		require.True(t, r.GivenUp())
	}))
}

// Requests that the Conn refuses fail, and no others.
func TestBatchWriteRequestFails(t *testing.T) {
	refused := fmt.Errorf("%w: for a test", jsonrpc2.ErrUnavailable)
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		before, _ := b.calls(t, "A", "B")
		lone := b.call("C", 0)
		b.conn.hold()
		var failing []*batched
		failing = append(failing, b.call("D", 0)) // alone
		for _, name := range []string{"E", "F"} {
			failing = append(failing, b.call(name, 0))
		}
		notification := b.notify("G", nil)
		plain := b.client.Go("Test.H", nil, new(string), nil)
		b.conn.refuse(refused)
		b.conn.release()
		for _, call := range failing {
			call.requireDone(t)
			require.ErrorIs(t, call.err, jsonrpc2.ErrUnavailable)
			require.EqualError(t, call.err, refused.Error())
		}
		require.EqualError(t, (<-plain.Done).Error, refused.Error())
		require.EqualError(t, <-notification, refused.Error())
		for _, call := range append(before, lone) {
			call.requireWaiting(t)
		}
		require.EqualValues(t, 5, b.stats.Snapshot().Unsent, "with the notification")
		require.Zero(t, b.stats.Snapshot().Dropped)

		require.EqualError(t, <-b.notify("I", nil), refused.Error())
		require.EqualValues(t, 6, b.stats.Snapshot().Unsent)

		b.conn.refuse(nil)
		b.sent()
		after, batch := b.calls(t, "J", "K")
		r := requests(t, batch)
		b.answer(array(answerTo(r[1]), answerTo(r[0])))
		for _, call := range after {
			call.requireAnswered(t)
		}
	})
}

// Each part of a batch is told what becomes of it, also of a failure that comes later.
func TestBatchTellsItsParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B")
		r := b.conn.last()
		lost := fmt.Errorf("%w: for a test", jsonrpc2.ErrReplyLost)
		calls[0].cancel()
		calls[0].requireDone(t)
		r.Fail(lost)
		r.Fail(jsonrpc2.ErrUnavailable)
		calls[1].requireDone(t)
		require.Equal(t, lost, calls[1].err)
		require.ErrorIs(t, calls[0].err, context.Canceled)
		require.EqualValues(t, 1, b.stats.Snapshot().RepliesLost)
		require.EqualValues(t, 1, b.stats.Snapshot().Canceled)
		b.requireNothingLeft(t)
	})
}

// An ErrUnconfirmed for a batch ends its notifications, and its calls wait on.
func TestBatchUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		b.conn.hold()
		b.conn.mute()
		b.notify("Busy", nil)
		call, notification := b.call("A", 0), b.notify("B", nil)
		b.conn.release()
		sent := b.sent()
		require.Len(t, sent, 2)
		batch := b.conn.last()
		unconfirmed := fmt.Errorf("%w: for a test", jsonrpc2.ErrUnconfirmed)
		batch.Fail(unconfirmed)
		require.Equal(t, unconfirmed, <-notification)
		require.EqualValues(t, 1, b.stats.Snapshot().Unconfirmed)
		require.False(t, batch.GivenUp())
		b.answer(answerTo(requests(t, sent[1])[0]))
		call.requireAnswered(t)
		require.True(t, batch.GivenUp())
	})
}

func TestBatchNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		var call *batched
		var notifications []<-chan error
		sent := b.together(t, func() {
			notifications = append(notifications, b.notify("A", []int{1}))
			call = b.call("B", 0)
			notifications = append(notifications, b.notify("C", nil))
		})
		requireSent(t, notifications...)
		require.Len(t, sent, 1)
		r := requests(t, sent[0])
		require.Len(t, r, 3)
		require.Nil(t, r[0].ID)
		require.JSONEq(t, `[1]`, string(r[0].Params))
		require.Nil(t, r[2].ID)
		b.answer(array(answerTo(r[1])))
		call.requireAnswered(t)

		sent = b.together(t, func() {
			b.notify("A", nil)
			b.notify("B", nil)
		})
		require.Equal(t, []string{`[{"jsonrpc":"2.0","method":"Test.A"},{"jsonrpc":"2.0","method":"Test.B"}]`}, sent)
		require.EqualValues(t, 6, b.stats.Snapshot().Notifications, "with two that kept the writer busy")
	})
}

func TestBatchOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		big := strings.Repeat("x", 1<<20)
		sent := b.together(t, func() {
			for range 15 {
				b.notify("A", big)
			}
			require.ErrorIs(t, <-b.notify("A", big), jsonrpc2.ErrOverloaded)
			_, err := jsonrpc2.Call[int](t.Context(), b.client, "Test.A", big)
			require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
			b.notify("A", "small")
		})
		require.Len(t, sent, 16)
		requireSent(t, b.notify("A", big)) // there is room again
		b.requireNothingLeft(t)
	})
}

// When the Conn ends, all calls of the Batch around it fail, also later ones.
func TestBatchConnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B")
		close(b.conn.messages)
		for _, call := range calls {
			call.requireDone(t)
			require.Error(t, call.err)
		}
		require.Error(t, b.client.Call("Test.C", nil, nil))
		require.NoError(t, b.codec.Close())
	})
}

// A notification that was sent runs, even if all calls of its batch are given up: the batch was
// withdrawn together with the notification, or not begun.
func TestBatchNotificationOutlivesCalls(t *testing.T) {
	for name, wrap := range map[string]func(jsonrpc2.ClientConn) jsonrpc2.ClientConn{
		"Batch":        func(c jsonrpc2.ClientConn) jsonrpc2.ClientConn { return jsonrpc2.Batch(c, nil) },
		"Retry(Batch)": func(c jsonrpc2.ClientConn) jsonrpc2.ClientConn { return jsonrpc2.Retry(jsonrpc2.Batch(c, nil), nil) },
		"Batch(Retry)": func(c jsonrpc2.ClientConn) jsonrpc2.ClientConn { return jsonrpc2.Batch(jsonrpc2.Retry(c, nil), nil) },
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			here, there := jsonrpc2.Pipe()
			client := jsonrpc2.NewClient(wrap(here), &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
			defer client.Close()
			ctx, cancel := context.WithCancel(t.Context())
			var callers sync.WaitGroup
			for range 4 {
				callers.Go(func() {
					_, err := jsonrpc2.Call[any](ctx, client, "Watch.Add", nil)
					require.ErrorIs(t, err, context.Canceled)
				})
				callers.Go(func() { require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Watch.Add", nil)) })
			}
			synctest.Wait()
			cancel()
			callers.Wait()
			synctest.Wait()
			w := newWatch()
			serving, drain := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() {
				served <- jsonrpc2.Serve(serving, newServer(t, w), there, &jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
			}()
			time.Sleep(time.Second)
			drain()
			require.NoError(t, <-served)
			require.GreaterOrEqual(t, w.ran.Load(), int64(4))
		}))
	}
}
