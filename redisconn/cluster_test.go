package redisconn_test

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// When the master that holds the queue dies both ends soon use its successor,
// though go-redis itself would look for one a minute later.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartRedisCluster(t, 3, 1)
	connect := func() *redis.ClusterClient {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	rdb := connect()
	serve(t, rdb, nil)
	c := dial(t, connect(), nil, 0)
	c.requireAdds(t)
	holder, err := rdb.MasterForKey(context.Background(), queue)
	require.NoError(t, err)
	for _, node := range cluster.Nodes {
		if node.Addr == holder.Options().Addr {
			node.Kill()
		}
	}
	requireUnavailable(t, func() error { _, err := c.add(1, 5.1); return err }())
	eventually(t, func() bool { _, err := c.add(1, 5.1); return err == nil })
}
