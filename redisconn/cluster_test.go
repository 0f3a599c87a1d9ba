package redisconn_test

import (
	"context"
	"fmt"
	"net/rpc"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// When the master that holds the queue dies both ends soon use its successor,
// though go-redis itself would look for one a minute later.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	for _, atLeastOnce := range []bool{false, true} {
		t.Run(fmt.Sprint("at least once ", atLeastOnce), func(t *testing.T) {
			t.Parallel()
			testClusterFailover(t, atLeastOnce)
		})
	}
}

func testClusterFailover(t *testing.T, atLeastOnce bool) {
	cluster := brokertest.StartRedisCluster(t, 3, 1)
	connect := func() *redis.ClusterClient {
		rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	rdb := connect()
	opts := leased()
	opts.Guarantee = guarantee(atLeastOnce)
	serve(t, rdb, opts)
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
	servicetest.Eventually(t, func() bool { _, err := c.add(1, 5.1); return err == nil })
}

// The beats and the waits of a server find the new master that Sentinel names, by
// clients of their own.
func TestSentinelFailoverAtLeastOnce(t *testing.T) {
	t.Parallel()
	sentinel := brokertest.StartSentinel(t)
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: sentinel.MasterName, SentinelAddrs: sentinel.SentinelAddrs})
	t.Cleanup(func() { _ = rdb.Close() })
	w := serve(t, rdb, leased())
	c := dial(t, rdb, nil, 0)
	c.requireAdds(t)
	sentinel.Nodes[0].Kill()
	servicetest.Eventually(t, func() bool { _, err := c.add(1, 5.1); return err == nil })
	for range 10 {
		c.requireAdds(t)
	}
	c.end(t)
	w.End(t)
	requireEmpty(t, rdb)
}

// A queue may have any name on a Cluster, with each delivery guarantee.
func TestClusterQueueNames(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartRedisCluster(t, 3, 0)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
	t.Cleanup(func() { _ = rdb.Close() })
	for _, name := range []string{"a}b", "{}", "{}a", "a{b", "a{}b", "}{", "{a}b{c}", "a b"} {
		for _, atLeastOnce := range []bool{false, true} {
			ctx, drain := context.WithCancel(t.Context())
			server := rpc.NewServer()
			require.NoError(t, server.Register(calc.Calc{}))
			served := make(chan error)
			conn := mustListen(t, rdb, name, &redisconn.ListenOptions{Guarantee: guarantee(atLeastOnce)})
			go func() { served <- jsonrpc2.Serve(ctx, server, conn, nil) }()
			client := jsonrpc2.NewClient(mustDial(t, rdb, name, nil), nil)
			sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
			require.NoError(t, err, "%q, at least once %v", name, atLeastOnce)
			require.Equal(t, 6.1, sum)
			require.NoError(t, client.Close())
			drain()
			require.NoError(t, <-served)
		}
	}
}
