package redisconn_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// through returns a client that goes through a proxy and has go-redis's default
// retries.
func through(t *testing.T, proxy *brokertest.Proxy) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr})
	t.Cleanup(func() { _ = rdb.Close() })
	require.Equal(t, 3, rdb.Options().MaxRetries)
	return rdb
}

// A request whose push was not confirmed runs once, for nobody knows whether
// it arrived. It did, and is answered.
func TestRequestSentOnce(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			proxy := brokertest.StartProxy(t, broker.Addr)
			counter := new(servicetest.Counter)
			serve(t, broker.Client(t), nil, counter)
			c := dial(t, through(t, proxy), &opts, 0)
			c.requireAdds(t)
			for n := range int64(10) {
				proxy.DropReply([]byte("Counter.Count"))
				got, err := jsonrpc2.Call[int64](context.Background(), c.Client, "Counter.Count", nil)
				require.NoError(t, err)
				require.Equal(t, n+1, got)
			}
			c.requireAdds(t)
			require.EqualValues(t, 10, counter.N.Load())
		})
	}
}

// The same with nobody there to take the request: it lies in the queue once.
func TestRequestPushedOnce(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	proxy := brokertest.StartProxy(t, broker.Addr)
	rdb := broker.Client(t)
	c := dial(t, through(t, proxy), nil, 0)
	for n := range int64(10) {
		proxy.DropReply([]byte("lpush"))
		require.ErrorIs(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", nil), jsonrpc2.ErrUnconfirmed)
		requireLen(t, rdb, queue, n+1)
	}
	require.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Subtract", nil))
	requireLen(t, rdb, queue, 11)
}

// An answer is repeated when it may not have arrived, and counted once by the
// reply list.
func TestAnswerRepeated(t *testing.T) {
	t.Parallel()
	for command, list := range map[string]string{
		"evalsha": "there",
		"rpush":   redisconn.DefaultReplyPrefix + "there",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			ctx := context.Background()
			broker := brokertest.StartRedis(t)
			proxy := brokertest.StartProxy(t, broker.Addr)
			rdb := broker.Client(t)
			var log servicetest.LogBook
			w := serve(t, through(t, proxy), &redisconn.ListenOptions{Logger: log.Logger()})
			push(t, rdb, add("warm")) // the script is known from here on
			require.Equal(t, six, pop(t, rdb, "warm"))
			for n := range int64(5) {
				proxy.DropReply([]byte(command))
				push(t, rdb, add(list))
				servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies == n+2 })
			}
			require.Equal(t, []string{six}, rdb.LRange(ctx, list, 0, -1).Val())
			require.Positive(t, rdb.PTTL(ctx, list).Val())
		})
	}
}

// A pop whose reply is lost costs what it took, is seen as a fault, and is not
// repeated by go-redis behind our back.
func TestPopSentOnce(t *testing.T) {
	t.Parallel()
	for command, rule := range map[string]string{"blmpop": "+blmpop", "brpop": "-blmpop"} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			proxy := brokertest.StartProxy(t, broker.Addr)
			admin := broker.Client(t)
			restricted(t, broker, admin, rule)
			rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr, Username: "app", Password: "secret"})
			t.Cleanup(func() { _ = rdb.Close() })
			var log servicetest.LogBook
			slow := servicetest.NewSlow()
			w := serve(t, rdb, &redisconn.ListenOptions{Prefetch: 1, Logger: log.Logger()}, slow)
			push(t, admin, wait(1, "there"))
			slow.RequireRunning(t, 1) // there is no pop meanwhile
			proxy.DropReply([]byte(command))
			slow.Open()
			requireBlocked(t, admin, 1)
			push(t, admin, add("lost"))
			servicetest.Eventually(t, func() bool { return log.Count(impaired) == 1 })
			push(t, admin, add("after"))
			require.Equal(t, six, pop(t, admin, "after"))
			w.End(t)
			require.EqualValues(t, 1, w.conn.Stats().Reconnects)
			require.NoError(t, admin.Del(context.Background(), "there").Err())
			requireEmpty(t, admin)
		})
	}
}

// A connection that is cut again and again costs answers, never a double run.
func TestCuts(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	proxy := brokertest.StartProxy(t, broker.Addr)
	counter := new(servicetest.Counter)
	w := serve(t, through(t, proxy), nil, counter)
	c := dial(t, through(t, proxy), nil, 500*time.Millisecond)
	sent := int64(0)
	for range 20 {
		proxy.Cut()
		for range 10 {
			sent++
			_, _ = jsonrpc2.Call[int64](context.Background(), c.Client, "Counter.Count", nil)
		}
	}
	servicetest.Eventually(t, func() bool { _, err := c.add(1, 2); return err == nil })
	require.LessOrEqual(t, counter.N.Load(), sent)
	c.end(t)
	w.End(t)
}
