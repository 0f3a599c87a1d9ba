package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// requireTimeout requires a timeout whose error says, or does not say, that the call has not run,
// and whose text has some words.
func requireTimeout(t *testing.T, err error, notRun bool, words string) {
	t.Helper()
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	require.True(t, strings.HasPrefix(err.Error(), jsonrpc2.ErrTimeout.Error()), err)
	require.Equal(t, notRun, errors.Is(err, jsonrpc2.ErrNotRun), err)
	require.ErrorContains(t, err, words)
}

const brief = time.Second // a timeout, in which a request is sent all the same

// hurried reports whether an error says that a busy machine left no time: to ask Redis in the half
// second after a timeout, or to send the request in its time.
func hurried(err error) bool {
	return strings.Contains(err.Error(), "can't be asked;") || strings.Contains(err.Error(), "it had not been sent")
}

// timedOut makes calls until one times out with time enough to learn what became of it. It returns
// that one's error, and how many calls it made.
func timedOut(call func() error) (calls int64, err error) {
	for calls = 1; ; calls++ {
		if err = call(); calls == 20 || !hurried(err) {
			return calls, err
		}
	}
}

// requireWithdrawn requires that so many requests were withdrawn, or were not even sent.
func requireWithdrawn(t *testing.T, c caller, n int64) {
	t.Helper()
	servicetest.EventuallyEqual(t, n, func() int64 { return c.conn.Stats().Withdrawn + c.conn.Stats().Expired })
}

// A call that nobody takes is withdrawn when it times out, and never run.
func TestWithdrawn(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := brokertest.StartRedis(t).Client(t)
			c := dial(t, rdb, &opts, brief)
			count := func(ctx context.Context) error {
				_, err := jsonrpc2.Call[int64](ctx, c.Client, "Counter.Count", struct{}{})
				return err
			}
			calls, err := timedOut(func() error { return count(context.Background()) })
			requireTimeout(t, err, true, `no server took it: it still waited and was withdrawn; requests waiting in queue "calc": 0`)
			requireLen(t, rdb, queue, 0)

			more, err := timedOut(func() error {
				ctx, cancel := context.WithTimeout(context.Background(), brief)
				defer cancel()
				return count(ctx)
			})
			calls += more
			requireTimeout(t, err, true, "withdrawn")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			requireLen(t, rdb, queue, 0)

			more, err = timedOut(func() error { return c.Call("Counter.Count", struct{}{}, nil) })
			calls += more
			require.True(t, strings.HasPrefix(err.Error(), jsonrpc2.ErrTimeout.Error()), err)
			require.ErrorContains(t, err, jsonrpc2.ErrNotRun.Error())
			requireWithdrawn(t, c, calls)
			require.GreaterOrEqual(t, c.conn.Stats().Withdrawn, int64(3))

			counter := new(servicetest.Counter)
			w := serve(t, rdb, nil, counter)
			patient := dial(t, rdb, &opts, 0)
			patient.requireAdds(t)
			require.Zero(t, counter.N.Load())
			patient.end(t)
			c.end(t)
			w.End(t)
			requireEmpty(t, rdb)
		})
	}
}

// Other requests stay where they are when some are withdrawn.
func TestWithdrawnAmongOthers(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	push(t, rdb, waits(3, "there")...)
	c := dial(t, rdb, nil, brief)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			_, err := c.add(1, 5.1)
			if !errors.Is(err, jsonrpc2.ErrNotRun) && !hurried(err) || !errors.Is(err, jsonrpc2.ErrTimeout) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	requireWithdrawn(t, c, 20)
	require.Equal(t, waits(3, "there"), waiting(t, rdb))
}

// The error of a call that a server has taken does not say that it did not run.
func TestNotWithdrawnButTaken(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	slow := servicetest.NewSlow()
	serve(t, rdb, nil, slow)
	defer slow.Open()
	c := dial(t, rdb, nil, 2*time.Second)
	_, err := timedOut(func() error {
		_, err := jsonrpc2.Call[int](context.Background(), c.Client, "Slow.Wait", []int{1})
		return err
	})
	requireTimeout(t, err, false, `it waits no more and may have run; requests waiting in queue "calc": 0`)
	servicetest.Eventually(t, func() bool { return slow.Running.Load() > 0 })
	require.Zero(t, c.conn.Stats().Withdrawn)
}

// Redis is not kept busy with a long search.
func TestNotWithdrawnFromMany(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	push(t, rdb, waits(1500, "there")...)
	c := dial(t, rdb, nil, brief)
	_, err := timedOut(func() error { _, err := c.add(1, 5.1); return err })
	sent := 1500 + c.conn.Stats().Requests
	requireTimeout(t, err, false, fmt.Sprintf(`it may still wait; requests waiting in queue "calc": %d`, sent))
	requireLen(t, rdb, queue, sent)
	require.Zero(t, commandCalls(rdb, "lrem"))
}

// A caller that goes away does not wait for its request to be withdrawn.
func TestWithdrawnWhenCanceled(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	c := dial(t, rdb, nil, 0)
	ctx, cancel := context.WithCancel(context.Background())
	failed := make(chan error)
	go func() {
		_, err := jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{})
		failed <- err
	}()
	requireLen(t, rdb, queue, 1)
	cancel()
	err := <-failed
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, jsonrpc2.ErrNotRun)
	c.end(t) // which waits for it
	require.Zero(t, rdb.LLen(context.Background(), queue).Val())
	require.EqualValues(t, 1, c.conn.Stats().Withdrawn)
}

// A call that could not be sent in time has certainly not run.
func TestWithdrawnUnsent(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	c := dial(t, rdb, nil, 0)
	require.NoError(t, rdb.ConfigSet(context.Background(), "maxmemory", "1").Err()) // a push is refused
	ctx, cancel := context.WithTimeout(context.Background(), brief/4)               // long before the sender's patience is over
	defer cancel()
	_, err := jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{})
	requireTimeout(t, err, true, `it had not been sent to queue "calc"`)
	require.NoError(t, rdb.ConfigSet(context.Background(), "maxmemory", "0").Err())
	servicetest.Eventually(t, func() bool { return c.conn.Stats().Expired+c.conn.Stats().Unsent == 1 })
	requireLen(t, rdb, queue, 0)
	require.Zero(t, c.conn.Stats().Withdrawn)
}

// A broker that does not answer delays the error by half a second at most.
func TestInquiryOfSilentBroker(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr, ReadTimeout: servicetest.Soon}) // go-redis waits so long
	t.Cleanup(func() { _ = rdb.Close() })
	c := dial(t, rdb, nil, 0)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second) // in which the call is sent
	defer cancel()
	failed := make(chan error)
	go func() {
		_, err := jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{})
		failed <- err
	}()
	servicetest.Eventually(t, func() bool { return c.conn.Stats().Requests == 1 })
	broker.Stop()
	defer broker.Cont()
	<-ctx.Done()
	begin := time.Now()
	err := <-failed
	t.Logf("the call ended %v later", time.Since(begin))
	requireTimeout(t, err, false, "context deadline exceeded")
	require.Less(t, time.Since(begin), promptly)
}

// No more than a hundred are withdrawn at once, and none of a batch.
func TestInquire(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	conn := opened(t, mustDial(t, rdb, queue, &redisconn.DialOptions{Logger: servicetest.Quiet}))
	defer conn.Close()
	inBatch := jsonrpc2.NewRequest(t.Context(), []byte(`{"jsonrpc":"2.0","id":"x","method":"add"}`), jsonrpc2.Hooks{})
	requests := []*jsonrpc2.Request{inBatch}
	for i := range 150 {
		r := write(t, conn, fmt.Sprintf(`{"jsonrpc":"2.0","id":"%d","method":"add"}`, i))
		require.NotNil(t, r.Handle)
		requests = append(requests, r)
	}
	requireLen(t, rdb, queue, 150)
	for round, want := range []int{100, 50} {
		ctx, cancel := context.WithTimeout(context.Background(), servicetest.Soon)
		found := conn.Inquire(ctx, requests)
		cancel()
		require.Len(t, found, len(requests))
		require.ErrorContains(t, found[0], fmt.Sprintf(`it may still wait; requests waiting in queue "calc": %d; Redis at `, 50-50*round))
		withdrawn := 0
		var rest []*jsonrpc2.Request
		for i, err := range found[1:] {
			if errors.Is(err, jsonrpc2.ErrNotRun) {
				withdrawn++
			} else {
				require.ErrorContains(t, err, "it may still wait")
				rest = append(rest, requests[i+1])
			}
		}
		require.Equal(t, want, withdrawn)
		requests = append([]*jsonrpc2.Request{inBatch}, rest...)
	}
	requireLen(t, rdb, queue, 0)
	require.Empty(t, requests[1:])
}
