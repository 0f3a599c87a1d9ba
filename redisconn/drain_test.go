package redisconn_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// waits are n requests for a Slow, oldest first.
func waits(n int, list string) (requests []string) {
	for i := range n {
		requests = append(requests, wait(i, list))
	}
	return requests
}

// waiting returns the requests on the queue, oldest first.
func waiting(t *testing.T, rdb *redis.Client) []string {
	t.Helper()
	requests, err := rdb.LRange(context.Background(), queue, 0, -1).Result()
	require.NoError(t, err)
	slices.Reverse(requests)
	return requests
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	slow := servicetest.NewSlow()
	push(t, rdb, waits(12, "there")...)
	w := serve(t, rdb, &redisconn.ListenOptions{Prefetch: 4, Logger: servicetest.Quiet}, slow)
	for answered := range int64(9) {
		slow.RequireRunning(t, 4)
		requireLen(t, rdb, queue, 8-answered)
		require.EqualValues(t, 4+answered, w.conn.Stats().Requests)
		slow.Gate <- struct{}{}
		requireLen(t, rdb, "there", answered+1)
	}
	slow.Open()
	requireLen(t, rdb, "there", 12)
	require.EqualValues(t, 4, slow.Most.Load())
}

// A request that came alone and is not read yet keeps the next ones in the
// queue, for servers that do read.
func TestUnreadKeepsOthersInQueue(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	conn := opened(t, mustListen(t, rdb, queue, &redisconn.ListenOptions{Logger: servicetest.Quiet}))
	defer conn.Close()
	read := func() string {
		request, err := conn.ReadRequest(context.Background())
		require.NoError(t, err)
		return string(request.Body)
	}
	push(t, rdb, add("one"))
	require.Equal(t, add("one"), read())
	push(t, rdb, add("two"))
	requireLen(t, rdb, queue, 0) // it is taken
	push(t, rdb, add("three"))
	requireBlocked(t, rdb, 0)
	requireLen(t, rdb, queue, 1)
	require.Equal(t, add("two"), read())
	require.Equal(t, add("three"), read())
}

// The oldest requests are served first.
func TestOrder(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	slow := servicetest.NewSlow()
	slow.Open()
	push(t, rdb, waits(50, "there")...)
	serveWith(t, rdb, nil, &jsonrpc2.ServerOptions{MaxInFlight: 1, Logger: servicetest.Quiet}, slow)
	requireLen(t, rdb, "there", 50)
	require.True(t, slices.IsSorted(slow.Order()), "got %v", slow.Order())
}

// No server holds work that another could do.
func TestIdleServersShare(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	var services []*servicetest.Slow
	for range 3 {
		slow := servicetest.NewSlow()
		t.Cleanup(func() { slow.Open() })
		services = append(services, slow)
		serveWith(t, rdb, nil, &jsonrpc2.ServerOptions{MaxInFlight: 1, Logger: servicetest.Quiet}, slow)
	}
	for round := range int64(20) {
		push(t, rdb, waits(3, "there")...)
		for _, slow := range services {
			slow.RequireRunning(t, 1)
		}
		for _, slow := range services {
			slow.Gate <- struct{}{}
		}
		requireLen(t, rdb, "there", 3*(round+1))
	}
}

// A drain interrupts a pop that would block for five seconds.
func TestDrainWhileBlocked(t *testing.T) {
	t.Parallel()
	for _, rule := range []string{"+blmpop", "-blmpop"} {
		t.Run(rule, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			admin := broker.Client(t)
			rdb := restricted(t, broker, admin, rule)
			var longest time.Duration
			for range 20 {
				begin := time.Now()
				w := serve(t, rdb, nil)
				requireBlocked(t, admin, 1)
				drained := time.Now()
				w.End(t)
				longest = max(longest, time.Since(drained))
				require.Less(t, time.Since(begin), blockTime) // the pop, which began later, has not ended by itself
			}
			t.Logf("longest drain of 20: %v", longest)
			requireEmpty(t, admin)
		})
	}
}

// What was fetched and not started goes back to where it was, in its order, and
// what runs is answered.
func TestDrainGivesBack(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	for _, test := range []struct {
		name          string
		first, second int // requests pushed at first, and when those are fetched
	}{{"read", 5, 0}, {"read and fetched", 5, 5}, {"and beyond the prefetch", 12, 0}} {
		t.Run(test.name, func(t *testing.T) {
			conn := opened(t, mustListen(t, rdb, queue, &redisconn.ListenOptions{Prefetch: 10, Logger: servicetest.Quiet}))
			requests := waits(test.first+test.second, "there")
			push(t, rdb, requests[:test.first]...)
			reading, drain := context.WithCancel(ctx)
			request, err := conn.ReadRequest(reading)
			require.NoError(t, err)
			require.Equal(t, requests[0], string(request.Body))
			if test.second > 0 {
				push(t, rdb, requests[test.first:]...)
			}
			requireLen(t, rdb, queue, int64(max(0, len(requests)-10)))
			servicetest.Eventually(t, func() bool { return conn.Stats().Requests == int64(min(10, len(requests))) })

			drain()
			_, err = conn.ReadRequest(reading)
			require.ErrorIs(t, err, context.Canceled)
			requireLen(t, rdb, queue, int64(len(requests)-1))
			require.Equal(t, requests[1:], waiting(t, rdb))

			require.NoError(t, request.Reply([]byte("answer"))) // though it drains
			require.Equal(t, "answer", pop(t, rdb, "there"))
			require.NoError(t, conn.Close())
			require.EqualValues(t, min(10, len(requests))-1, conn.Stats().GivenBack)
			require.NoError(t, rdb.Del(ctx, queue).Err())
			requireEmpty(t, rdb)
		})
	}
}

func TestDrainAnswersWhatRuns(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	slow := servicetest.NewSlow()
	w := serve(t, rdb, &redisconn.ListenOptions{Prefetch: 4, Logger: servicetest.Quiet}, slow)
	requests := waits(8, "there")
	push(t, rdb, requests...)
	slow.RequireRunning(t, 4)
	requireServers(t, rdb, 1)
	w.Drain()
	requireServers(t, rdb, 0) // the drain has begun: else a place that gets free may be taken
	for range 4 {
		slow.Gate <- struct{}{} // has its place taken by nobody
	}
	w.End(t)
	require.Equal(t, requests[4:], waiting(t, rdb))
	requireLen(t, rdb, "there", 4)
}

// Servers come and go while clients call, and every call is answered.
func TestRollingRestart(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	c := dial(t, rdb, nil, 0)
	var stop atomic.Bool
	var calls atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, 64)
	for i := range 64 {
		wg.Go(func() {
			for !stop.Load() {
				if err := servicetest.AddMany(c.Client, i, 1); err != nil {
					errs <- err
					return
				}
				calls.Add(1)
			}
		})
	}
	var givenBack int64
	last := serve(t, rdb, nil)
	for range 60 {
		next := serve(t, rdb, nil)
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
	want := redisconn.ClientStats{Requests: calls.Load(), Replies: calls.Load()}
	servicetest.Eventually(t, func() bool { return c.conn.Stats() == want })
	c.end(t)
	last.End(t)
	requireEmpty(t, rdb)
}

// Close without a drain also gives requests back.
func TestCloseGivesBack(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	conn := opened(t, mustListen(t, rdb, queue, nil))
	requests := waits(5, "there")
	push(t, rdb, requests...)
	request, err := conn.ReadRequest(context.Background())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, requests[1:], waiting(t, rdb))
	require.Error(t, request.Reply([]byte("answer")))
}

// What a drained server can't answer any more is a whole batch or none of it.
func TestDrainFinishesABatch(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	slow := servicetest.NewSlow()
	w := serveWith(t, rdb, nil, &jsonrpc2.ServerOptions{MaxInFlight: 2, Logger: servicetest.Quiet}, slow)
	push(t, rdb, "["+strings.Join(waits(6, "there"), ",")+"]")
	slow.RequireRunning(t, 2)
	w.Drain()
	slow.Open()
	w.End(t)
	reply := pop(t, rdb, "there")
	for i := range 6 {
		require.Contains(t, reply, fmt.Sprintf(`"result":%d}`, i))
	}
	requireEmpty(t, rdb)
}

// A server that is drained while it joins the others leaves nothing behind. Its row could
// stay until another server came.
func TestDrainedWhileItJoins(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	awaited := 0 // joins
	for n := range 200 {
		conn := opened(t, mustListen(t, rdb, queue, leased()))
		ctx, drain := context.WithCancel(t.Context())
		time.AfterFunc(time.Duration(n)*20*time.Microsecond, drain)
		_, err := conn.ReadRequest(ctx)
		require.ErrorIs(t, err, context.Canceled)
		begin := time.Now()
		require.NoError(t, conn.Close())
		if time.Since(begin) < joinGrace {
			requireEmpty(t, rdb)
			awaited++
			continue
		}
		// Close may not have awaited the join.
		require.NoError(t, rdb.FlushAll(t.Context()).Err())
	}
	require.Positive(t, awaited)
}

// joinGrace is how long a Close waits for a join that is under way.
const joinGrace = 500 * time.Millisecond
