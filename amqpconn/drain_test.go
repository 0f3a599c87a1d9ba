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
)

func TestDrainIdle(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var longest time.Duration
	for range 10 {
		w := serve(t, s, nil)
		begin := time.Now()
		w.end(t)
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
				Queue: amqpconn.Queue{Quorum: quorum}, Prefetch: 10, Logger: quiet})
			require.NoError(t, err)
			defer conn.Close()
			conn.SetLimits(jsonrpc2.Limits{MessageSize: 1 << 20, InFlight: 100})
			ch := s.channel(t)
			own, answers := replyQueue(t, ch, "")
			reading, drain := context.WithCancel(context.Background())
			first := make(chan jsonrpc2.Message)
			go func() {
				msg, _ := conn.ReadMessage(reading)
				first <- msg
			}()
			s.requireConsumers(t, 1)
			for i := range 12 {
				s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add(fmt.Sprint(i)))})
			}
			msg := <-first
			require.Equal(t, add("0"), string(msg.Body))
			s.requireWaiting(t, 2)

			drain()
			_, err = conn.ReadMessage(reading)
			require.ErrorIs(t, err, context.Canceled)
			s.requireWaiting(t, 11)
			require.EqualValues(t, 9, conn.Stats().GivenBack)

			require.NoError(t, msg.Reply([]byte("answer"))) // though it drains
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

// A Conn may be read from again after a drain: nothing is lost or run twice.
func TestReadAfterDrain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	conn, err := amqpconn.Listen(s.url, s.queue, &amqpconn.ListenOptions{Prefetch: 2, Logger: quiet})
	require.NoError(t, err)
	defer conn.Close()
	s.declare(t, true, false, nil)
	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	const requests = 20
	for i := range requests {
		s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add(fmt.Sprint(i)))})
	}
	seen := make(map[string]int)
	for i := 0; len(seen) < requests; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i%20)*time.Millisecond)
		msg, err := conn.ReadMessage(ctx)
		cancel()
		if err != nil {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			continue
		}
		seen[string(msg.Body)]++
		require.NoError(t, msg.Reply([]byte("answer")))
		take(t, answers)
	}
	for request, times := range seen {
		require.Equal(t, 1, times, request)
	}
	require.NoError(t, conn.Close())
	s.requireWaiting(t, 0)
}

func TestDrainAnswersWhatRuns(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	slow := newSlow()
	w := serve(t, s, &amqpconn.ListenOptions{Prefetch: 4, Logger: quiet}, slow)
	c := dial(t, s, nil, 0)
	var calls []*rpc.Call
	for i := range 8 {
		calls = append(calls, c.wait(i))
	}
	slow.requireRunning(t, 4)
	w.drain()
	for range 4 {
		slow.gate <- struct{}{} // has its place taken by nobody
	}
	w.end(t)
	s.requireWaiting(t, 4)
	require.EqualValues(t, 4, w.conn.Stats().Replies)
	close(slow.gate)
	serve(t, s, nil, slow)
	requireWaited(t, calls...)
	require.EqualValues(t, 8, slow.ran.Load())
}

// What a drained server began is a whole batch.
func TestDrainFinishesABatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	slow := newSlow()
	w := serveWith(t, s, nil, jsonrpc2.ServerOptions{MaxInFlight: 2, Logger: quiet}, slow)
	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	var items []string
	for i := range 6 {
		items = append(items, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"Slow.Wait","params":[%d]}`, i, i))
	}
	s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte("[" + strings.Join(items, ",") + "]")})
	slow.requireRunning(t, 2)
	w.drain()
	close(slow.gate)
	w.end(t)
	require.Equal(t, 6, strings.Count(string(take(t, answers).Body), `"result":`))
	s.requireWaiting(t, 0)
}

// Servers come and go while clients call, and every call is answered, in time
// and by a request that ran once.
func TestRollingReplacement(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	counter := new(Counter)
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
		eventually(t, func() bool { return calls.Load() > before+100 || len(errs) > 0 })
		last.end(t)
		givenBack += last.conn.Stats().GivenBack
		last = next
	}
	stop.Store(true)
	wg.Wait()
	close(errs)
	require.NoError(t, <-errs)
	t.Logf("%d calls, %d requests given back", calls.Load(), givenBack)
	require.Equal(t, calls.Load(), counter.n.Load())
	require.Equal(t, amqpconn.Stats{Requests: calls.Load(), Replies: calls.Load()}, c.conn.Stats())
	c.end(t)
	last.end(t)
	s.requireWaiting(t, 0)
}

// Close without a drain before it gives back, too, what can't be answered any
// more.
func TestCloseGivesBack(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	ch := s.channel(t)
	for i := range 5 {
		s.publish(t, ch, amqp.Publishing{ReplyTo: "gone", Body: []byte(add(fmt.Sprint(i)))})
	}
	conn, err := amqpconn.Listen(s.url, s.queue, &amqpconn.ListenOptions{Logger: quiet})
	require.NoError(t, err)
	msg, err := conn.ReadMessage(context.Background())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Error(t, msg.Reply([]byte("answer")))
	s.requireWaiting(t, 5)
}
