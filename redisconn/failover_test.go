package redisconn_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// detach waits until a replica knows all that its master knows, and then keeps from it all that is
// written later: so failOver makes a master of a replica that lacks the last writes.
func detach(t *testing.T, master, replica *brokertest.Redis) (failOver func()) {
	t.Helper()
	rdb := master.Client(t)
	reached, err := rdb.Wait(t.Context(), 1, servicetest.Soon).Result()
	require.NoError(t, err)
	require.EqualValues(t, 1, reached)
	replica.Stop()
	require.NoError(t, rdb.Do(t.Context(), "client", "kill", "type", "replica").Err())
	return func() {
		master.Kill()
		replica.Cont()
	}
}

// When a replica becomes master that lacks the last settling and the last take, both requests run
// again: one is held though its server has forgotten it, the other one is queued.
func TestFailoverUndoesSettling(t *testing.T) {
	t.Parallel()
	sentinel := brokertest.StartSentinel(t)
	rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: sentinel.MasterName, SentinelAddrs: sentinel.SentinelAddrs})
	t.Cleanup(func() { _ = rdb.Close() })
	slow := servicetest.NewSlow()
	opts := leased()
	opts.Prefetch = 1
	w := serve(t, rdb, opts, slow)
	push(t, rdb, waits(2, "there")...)
	slow.RequireRunning(t, 1)
	requireLen(t, rdb, queue, 1)

	failOver := detach(t, sentinel.Nodes[0], sentinel.Nodes[1])
	for n := range 2 {
		slow.Gate <- struct{}{}
		require.Contains(t, pop(t, rdb, "there"), fmt.Sprintf(`"result":%d`, n))
	}
	servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies == 2 })
	failOver()
	slow.Open()
	servicetest.Eventually(t, func() bool { return slow.Ran.Load() == 4 }, "what was undone does not run again")
	servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies == 4 })
	answers := []string{pop(t, rdb, "there"), pop(t, rdb, "there")}
	slices.Sort(answers)
	for n := range 2 {
		require.Contains(t, answers[n], fmt.Sprintf(`"result":%d`, n))
	}
	require.EqualValues(t, 1, w.conn.Stats().TakenOver)
	w.End(t)
	require.EqualValues(t, 4, slow.Ran.Load())
	requireEmpty(t, rdb)
}

// What stands for a settled request on a Cluster is not run when a failover undoes its
// removal. Formerly it was pushed back as an empty request.
func TestFailoverUndoesRemovalOnCluster(t *testing.T) {
	t.Parallel()
	const masters = 3
	cluster := brokertest.StartRedisCluster(t, masters, 1)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
	t.Cleanup(func() { _ = rdb.Close() })
	holder, list := nodeOf(t, cluster, rdb, queue), "there"
	for nodeOf(t, cluster, rdb, list) == holder {
		list += "!"
	}
	other := cluster.Nodes[nodeOf(t, cluster, rdb, list)]
	slow := servicetest.NewSlow()
	w := serve(t, rdb, leased(), slow)
	push(t, rdb, wait(1, list))
	slow.RequireRunning(t, 1)
	gens := generations(t, rdb)
	require.Len(t, gens, 1)
	isClaimed := func() bool {
		fields := rdb.HKeys(t.Context(), heldKey(gens[0])).Val()
		return slices.ContainsFunc(fields, func(field string) bool { return strings.HasPrefix(field, "c") })
	}

	other.Stop() // so that the answer waits
	slow.Gate <- struct{}{}
	servicetest.Eventually(t, isClaimed)
	failOver := detach(t, cluster.Nodes[holder], cluster.Nodes[holder+masters])
	other.Cont()
	require.Contains(t, pop(t, rdb, list), `"result":1`)
	servicetest.Eventually(t, func() bool { return !isClaimed() })
	failOver()
	servicetest.Eventually(t, isClaimed, "the removal is not undone")

	push(t, rdb, wait(2, list))
	slow.RequireRunning(t, 1)
	slow.Gate <- struct{}{}
	require.Contains(t, pop(t, rdb, list), `"result":2`)
	w.End(t)
	require.EqualValues(t, 2, slow.Ran.Load())
	require.EqualValues(t, 2, w.conn.Stats().Requests)
	require.Zero(t, w.conn.Stats().TakenOver)
	requireClusterEmpty(t, rdb)
}

// nodeOf returns the index of the master that has a key.
func nodeOf(t *testing.T, cluster *brokertest.RedisCluster, rdb *redis.ClusterClient, key string) int {
	t.Helper()
	master, err := rdb.MasterForKey(t.Context(), key)
	require.NoError(t, err)
	return slices.IndexFunc(cluster.Nodes, func(node *brokertest.Redis) bool { return node.Addr == master.Options().Addr })
}

// requireClusterEmpty requires that no key is left on any node.
func requireClusterEmpty(t *testing.T, rdb *redis.ClusterClient) {
	t.Helper()
	require.NoError(t, rdb.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
		keys, err := node.Keys(ctx, "*").Result()
		require.Empty(t, keys)
		return err
	}))
}
