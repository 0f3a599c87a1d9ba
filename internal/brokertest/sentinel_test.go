package brokertest_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// containsLine reports whether a reply to INFO has a line.
func containsLine(info, line string) bool {
	return slices.Contains(strings.Split(info, "\r\n"), line)
}

func failoverClient(t *testing.T, s *brokertest.Sentinel) *redis.Client {
	t.Helper()
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName:    s.MasterName,
		SentinelAddrs: s.SentinelAddrs,
	})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := brokertest.StartSentinel(t)
	client := failoverClient(t, s)
	require.NoError(t, client.Set(ctx, "key", "value", 0).Err())
	require.EqualValues(t, 1, client.Wait(ctx, 1, time.Minute).Val())

	require.Same(t, s.Nodes[0], s.Master())
	s.Failover()
	require.Same(t, s.Nodes[1], s.Master())
	value, err := s.Master().Client(t).Get(ctx, "key").Result()
	require.NoError(t, err)
	require.Equal(t, "value", value)

	s.Failover() // back again
	require.Same(t, s.Nodes[0], s.Master())
}

func TestSentinelReplacesKilledMaster(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	s := brokertest.StartSentinel(t)
	client := failoverClient(t, s)
	require.NoError(t, client.Ping(ctx).Err())
	s.Master().Kill()
	require.Eventually(t, func() bool {
		return client.Set(ctx, "key", "value", 0).Err() == nil
	}, time.Minute, 10*time.Millisecond)
	require.Same(t, s.Nodes[1], s.Master())
}
