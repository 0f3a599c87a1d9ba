package brokertest_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

func TestRedisAnswers(t *testing.T) {
	t.Parallel()
	r := brokertest.StartRedis(t)
	require.NoError(t, r.Client(t).Ping(context.Background()).Err())

	options, err := redis.ParseURL(r.URL())
	require.NoError(t, err)
	require.Equal(t, r.Addr, options.Addr)
}

func TestRedisForgetsAtRestartByDefault(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := brokertest.StartRedis(t)
	require.NoError(t, r.Client(t).Set(ctx, "key", "value", 0).Err())
	r.Restart()
	require.ErrorIs(t, r.Client(t).Get(ctx, "key").Err(), redis.Nil)
}

func TestRedisArguments(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := brokertest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	require.NoError(t, r.Client(t).Set(ctx, "key", "value", 0).Err())
	r.Restart()
	value, err := r.Client(t).Get(ctx, "key").Result()
	require.NoError(t, err)
	require.Equal(t, "value", value)
}

func TestRedisKilled(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	r := brokertest.StartRedis(t)
	r.Kill()
	r.Kill() // a dead one may be killed again
	require.ErrorContains(t, r.Client(t).Ping(ctx).Err(), "connection refused")
	r.Start()
	require.NoError(t, r.Client(t).Ping(ctx).Err())
}

func TestRedisStopped(t *testing.T) {
	t.Parallel()
	r := brokertest.StartRedis(t)
	client := redis.NewClient(&redis.Options{Addr: r.Addr, MaxRetries: -1, ReadTimeout: 100 * time.Millisecond})
	defer client.Close()
	require.NoError(t, r.Client(t).Ping(context.Background()).Err())
	r.Stop()
	require.ErrorContains(t, client.Ping(context.Background()).Err(), "i/o timeout")
	r.Cont()
	require.Eventually(t, func() bool {
		return client.Ping(context.Background()).Err() == nil
	}, time.Minute, 10*time.Millisecond)
}
