package amqpconn_test

import (
	"context"
	"fmt"
	"net/rpc"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestDrainIdle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var longest time.Duration
	for range 10 {
		w := serve(t, s, nil)
		begin := time.Now()
		w.End(t)
		longest = max(longest, time.Since(begin))
	}
	t.Logf("longest drain of 10: %v", longest)
	require.Less(t, longest, closeTime)
}

// What was prefetched and not started goes back at once, what runs is answered
// and acknowledged.
func TestDrainGivesBack(t *testing.T) {
	t.Parallel()
	for _, quorum := range []bool{false, true} {
		t.Run(fmt.Sprint("quorum ", quorum), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			conn, err := amqpconn.Listen(s.url, s.queue, &amqpconn.ListenOptions{
				Queue: amqpconn.Queue{Quorum: quorum}, Prefetch: 10, Logger: servicetest.Quiet})
			require.NoError(t, err)
			defer conn.Close()
			require.NoError(t, conn.Open(jsonrpc2.Settings{MessageSize: 1 << 20, InFlight: 100}))
			ch := s.channel(t)
			own, answers := replyQueue(t, ch, "")
			reading, drain := context.WithCancel(context.Background())
			first := make(chan jsonrpc2.Delivery)
			go func() {
				d, _ := conn.ReadRequest(reading)
				first <- d
			}()
			s.requireConsumers(t, 1)
			for i := range 12 {
				s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add(fmt.Sprint(i)))})
			}
			d := <-first
			require.Equal(t, add("0"), string(d.Body))
			s.requireWaiting(t, 2)

			drain()
			_, err = conn.ReadRequest(reading)
			require.ErrorIs(t, err, context.Canceled)
			s.requireWaiting(t, 11)
			require.EqualValues(t, 9, conn.Stats().GivenBack)

			require.NoError(t, d.Reply([]byte("answer"))) // though it drains
			require.Equal(t, "answer", string(take(t, answers).Body))
			require.NoError(t, conn.Close())
			s.requireWaiting(t, 11)

			serve(t, s, nil)
			for range 11 {
				require.Contains(t, string(take(t, answers).Body), `"result":6.1`)
			}
		})
	}
}

// What was prefetched goes back at once also while the codec is busy with a
// batch and does not read.
func TestDrainWhileABatchIsPlaced(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	slow := servicetest.NewSlow()
	w := serveWith(t, s, nil, jsonrpc2.ServerOptions{MaxInFlight: 2, Logger: servicetest.Quiet}, slow)
	c := dial(t, s, nil, 0)
	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	item := `{"jsonrpc":"2.0","id":1,"method":"Slow.Wait","params":[1]}`
	s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte("[" + strings.Repeat(item+",", 5) + item + "]")})
	slow.RequireRunning(t, 2)
	prefetched := c.wait(7)
	servicetest.Eventually(t, func() bool { return c.conn.Stats().Requests == 1 })
	s.requireWaiting(t, 0)
	w.Drain()
	s.requireWaiting(t, 1)
	require.EqualValues(t, 2, slow.Running.Load(), "the batch has not moved")
	slow.Open()
	w.End(t)
	require.Equal(t, 6, strings.Count(string(take(t, answers).Body), `"result":`))
	require.EqualValues(t, 1, w.conn.Stats().GivenBack)
	serve(t, s, nil, slow)
	requireWaited(t, prefetched)
}

// After a drain nothing is returned, however much waits.
func TestDrainIsFinal(t *testing.T) {
	t.Parallel()
	const requests, rounds = 20, 30
	s := newSite(t)
	s.declare(t, true, false, nil)
	ch := s.channel(t)
	for i := range requests {
		s.publish(t, ch, amqp.Publishing{Body: []byte(fmt.Sprintf(`{"jsonrpc":"2.0","method":"x","params":[%d]}`, i))})
	}
	for range rounds {
		conn, err := amqpconn.Listen(s.url, s.queue, &amqpconn.ListenOptions{Logger: servicetest.Quiet})
		require.NoError(t, err)
		ctx, drain := context.WithCancel(context.Background())
		_, err = conn.ReadRequest(ctx)
		require.NoError(t, err)
		drain()
		for range 3 {
			_, err = conn.ReadRequest(ctx)
			require.ErrorIs(t, err, context.Canceled)
		}
		require.NoError(t, conn.Close()) // what was read is not answered
		require.EqualValues(t, 1, conn.Stats().Requests)
	}
	s.requireWaiting(t, requests)
}

func TestDrainAnswersWhatRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	slow := servicetest.NewSlow()
	w := serve(t, s, &amqpconn.ListenOptions{Prefetch: 4, Logger: servicetest.Quiet}, slow)
	c := dial(t, s, nil, 0)
	var calls []*rpc.Call
	for i := range 8 {
		calls = append(calls, c.wait(i))
	}
	slow.RequireRunning(t, 4)
	w.Drain()
	for range 4 {
		slow.Gate <- struct{}{} // one call ends, and no other takes its place
	}
	w.End(t)
	s.requireWaiting(t, 4)
	require.EqualValues(t, 4, w.conn.Stats().Replies)
	slow.Open()
	serve(t, s, nil, slow)
	requireWaited(t, calls...)
	require.EqualValues(t, 8, slow.Ran.Load())
}

// A batch that has begun when the drain begins is finished whole.
func TestDrainFinishesABatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	slow := servicetest.NewSlow()
	w := serveWith(t, s, nil, jsonrpc2.ServerOptions{MaxInFlight: 2, Logger: servicetest.Quiet}, slow)
	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	var items []string
	for i := range 6 {
		items = append(items, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"Slow.Wait","params":[%d]}`, i, i))
	}
	s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte("[" + strings.Join(items, ",") + "]")})
	slow.RequireRunning(t, 2)
	w.Drain()
	slow.Open()
	w.End(t)
	require.Equal(t, 6, strings.Count(string(take(t, answers).Body), `"result":`))
	s.requireWaiting(t, 0)
}

// Servers come and go while clients call. Every call is answered in time, and ran once.
func TestRollingReplacement(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	counter := new(servicetest.Counter)
	last := serve(t, s, nil, counter)
	c := dial(t, s, nil, 0)
	var stop atomic.Bool
	var calls atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 32)
	for range cap(errs) {
		wg.Go(func() {
			for !stop.Load() {
				if _, err := jsonrpc2.Call[int64](context.Background(), c.Client, "Counter.Count", struct{}{}); err != nil {
					errs <- err
					return
				}
				calls.Add(1)
			}
		})
	}
	var givenBack int64
	for range 15 {
		next := serve(t, s, nil, counter)
		before := calls.Load()
		servicetest.Eventually(t, func() bool { return calls.Load() > before+100 || len(errs) > 0 })
		last.End(t)
		givenBack += last.conn.Stats().GivenBack
		last = next
	}
	stop.Store(true)
	wg.Wait()
	close(errs)
	require.NoError(t, <-errs)
	t.Logf("%d calls, %d requests given back", calls.Load(), givenBack)
	require.Equal(t, calls.Load(), counter.N.Load())
	servicetest.EventuallyEqual(t, amqpconn.ClientStats{Requests: calls.Load(), Replies: calls.Load()}, c.conn.Stats)
	c.end(t)
	last.End(t)
	s.requireWaiting(t, 0)
}

// A Close without a drain gives back the requests that can no longer be answered.
func TestCloseGivesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	ch := s.channel(t)
	for i := range 5 {
		s.publish(t, ch, amqp.Publishing{ReplyTo: "gone", Body: []byte(add(fmt.Sprint(i)))})
	}
	conn, err := amqpconn.Listen(s.url, s.queue, &amqpconn.ListenOptions{Logger: servicetest.Quiet})
	require.NoError(t, err)
	d, err := conn.ReadRequest(context.Background())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Error(t, d.Reply([]byte("answer")))
	s.requireWaiting(t, 5)
}
