package brokertest_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	c := brokertest.StartRedisCluster(t, 3, 1)
	require.Len(t, c.Nodes, 6)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs})
	defer client.Close()
	for n := range 100 {
		require.NoError(t, client.Set(ctx, fmt.Sprint("key", n), n, 0).Err())
	}

	replica := c.Nodes[3].Client(t)
	c.Nodes[0].Kill()
	require.Eventually(t, func() bool {
		info, err := replica.Info(ctx, "replication").Result()
		return err == nil && containsLine(info, "role:master")
	}, time.Minute, 50*time.Millisecond, "the replica takes over")
	c.Nodes[0].Start()
	require.Eventually(t, func() bool {
		return client.Set(ctx, "key0", "again", 0).Err() == nil
	}, time.Minute, 50*time.Millisecond)
}

func TestRedisClusterWithoutReplicas(t *testing.T) {
	t.Parallel()
	c := brokertest.StartRedisCluster(t, 3, 0)
	client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: c.Addrs[:1]})
	defer client.Close()
	require.NoError(t, client.ForEachMaster(context.Background(),
		func(ctx context.Context, master *redis.Client) error { return master.Ping(ctx).Err() }))
}
