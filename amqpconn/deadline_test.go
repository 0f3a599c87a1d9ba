package amqpconn_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A request that was delivered and could not begin before its caller gave up is
// not run, and settled.
func TestExpiresOnTheServer(t *testing.T) {
	t.Parallel()
	const expiration = 1500 * time.Millisecond
	for name, opts := range map[string]amqpconn.ListenOptions{
		"at least once": {Logger: servicetest.Quiet},
		"at most once":  {Logger: servicetest.Quiet, Guarantee: jsonrpc2.AtMostOnce},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			slow, counter, stats := servicetest.NewSlow(), new(servicetest.Counter), new(jsonrpc2.ServerStats)
			w := serveWith(t, s, &opts, jsonrpc2.ServerOptions{MaxInFlight: 3, Stats: stats, Logger: servicetest.Quiet}, slow, counter)
			ch := s.channel(t)
			require.NoError(t, ch.Confirm(false))
			own, answers := replyQueue(t, ch, "")

			item := `{"jsonrpc":"2.0","id":1,"method":"Slow.Wait","params":[1]}`
			s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte("[" + strings.Repeat(item+",", 2) + item + "]")})
			slow.RequireRunning(t, 3) // one message has all places, but the prefetch has more
			s.publishConfirmed(t, ch, amqp.Publishing{
				ReplyTo:    own,
				Expiration: "1500",
				Body:       []byte(`{"jsonrpc":"2.0","id":2,"method":"Counter.Count"}`),
			})
			s.publishConfirmed(t, ch, amqp.Publishing{ReplyTo: own, Expiration: "600000", Body: []byte(add("3"))})
			s.requireWaiting(t, 0) // both are delivered
			time.Sleep(2 * expiration)
			requireNoMore(t, ch, own, answers)
			slow.Open()
			got := []string{string(take(t, answers).Body), string(take(t, answers).Body)} // in any order
			require.Contains(t, got, six("3"))
			require.Equal(t, 3+1, strings.Count(strings.Join(got, ""), `"result":`))
			w.End(t)
			require.EqualValues(t, 1, stats.Snapshot().Expired)
			require.Zero(t, counter.N.Load())
			servicetest.EventuallyEqual(t, amqpconn.ServerStats{Requests: 3, Replies: 2}, w.conn.Stats)
			s.requireWaiting(t, 0) // it does not come back
		})
	}
}

// publishConfirmed publishes a raw request, and waits until the broker has it.
func (s site) publishConfirmed(t *testing.T, ch *amqp.Channel, msg amqp.Publishing) {
	t.Helper()
	confirmed, err := ch.PublishWithDeferredConfirmWithContext(context.Background(), "", s.queue, false, false, msg)
	require.NoError(t, err)
	require.True(t, confirmed.Wait())
}

// A Watch has a method that waits until nobody waits for it any more.
type Watch struct {
	begun atomic.Int64
	left  chan struct{} // closed when its callers have given up
	ended chan error    // receives how each wait ended
}

type WatchArgs struct{ jsonrpc2.Context }

// Wait waits until its context is done, and its caller has given up.
func (w *Watch) Wait(args *WatchArgs, _ *bool) error {
	w.begun.Add(1)
	<-args.Done()
	<-w.left
	w.ended <- args.Err()
	return args.Err()
}

// Left returns for how long its caller waits, 0 if that is not known.
func (w *Watch) Left(args *WatchArgs, left *time.Duration) error {
	if deadline, ok := args.Deadline(); ok {
		*left = time.Until(deadline)
	}
	return nil
}

func TestContextOfACall(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := &Watch{left: make(chan struct{}), ended: make(chan error, 100)}
	leave := sync.OnceFunc(func() { close(w.left) })
	serve(t, s, nil, w)
	t.Cleanup(leave) // before the server is drained
	c := dial(t, s, nil, -1)
	left := func(timeout time.Duration) time.Duration {
		ctx, cancel := t.Context(), func() {}
		if timeout > 0 {
			ctx, cancel = context.WithTimeout(ctx, timeout)
		}
		defer cancel()
		got, err := jsonrpc2.Call[time.Duration](ctx, c.Client, "Watch.Left", nil)
		require.NoError(t, err)
		return got
	}
	require.Zero(t, left(0))
	got := left(time.Hour)
	require.LessOrEqual(t, got, time.Hour)
	require.Greater(t, got, time.Hour-servicetest.Soon)

	servicetest.Eventually(t, func() bool { // a call may expire before it begins
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := jsonrpc2.Call[bool](ctx, c.Client, "Watch.Wait", nil)
		assert.ErrorIs(t, err, jsonrpc2.ErrTimeout)
		return w.begun.Load() > 0
	})
	leave()
	require.ErrorIs(t, <-w.ended, context.DeadlineExceeded)
}
