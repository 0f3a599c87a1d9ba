package redisconn_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// requireState waits until a look tells a state.
func requireState(t *testing.T, rdb redis.UniversalClient, want redisconn.QueueState) {
	t.Helper()
	servicetest.EventuallyEqual(t, want, func() redisconn.QueueState {
		state, err := redisconn.Look(t.Context(), rdb, queue)
		require.NoError(t, err)
		return state
	})
}

func TestLook(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	requireState(t, rdb, redisconn.QueueState{})
	deadline := time.Now().Add(time.Hour).Truncate(time.Millisecond)
	push(t, rdb, fmt.Sprintf(`{"jsonrpc":"2.0","id":"a","deadline_ms":%d,"method":"Slow.Wait","params":[1]}`, deadline.UnixMilli()),
		`{"jsonrpc":"2.0","id":"b","method":"Slow.Wait","params":[2]}`)
	for range 2 { // a look takes nothing
		requireState(t, rdb, redisconn.QueueState{Waiting: 2, Deadline: deadline})
	}
	slow := servicetest.NewSlow()
	serveWith(t, rdb, leased(), &jsonrpc2.ServerOptions{MaxInFlight: 1, Logger: servicetest.Quiet}, slow)
	slow.RequireRunning(t, 1)
	requireState(t, rdb, redisconn.QueueState{Waiting: 1, Held: 1, Servers: 1})
	slow.Open()
	requireState(t, rdb, redisconn.QueueState{Servers: 1})
	require.NoError(t, rdb.LPush(t.Context(), deadKey, "{}\n{}").Err())
	requireState(t, rdb, redisconn.QueueState{Servers: 1, Dead: 1})
}

// A look at a long queue runs as few commands as one at an empty one, and none that writes or
// whose cost grows with the queue.
func TestLookIsCheap(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	look := func() { _, err := redisconn.Look(t.Context(), rdb, queue); require.NoError(t, err) }
	look() // which connects
	empty := brokertest.CommandsOf(t, rdb, look)
	require.ElementsMatch(t, []string{"time", "llen", "lindex", "hkeys", "zcount"}, slices.Collect(maps.Keys(empty)))
	many := slices.Repeat([]any{`{"jsonrpc":"2.0","method":"Calc.Add","params":[1,5.1]}`}, 10_000)
	for range 10 {
		require.NoError(t, rdb.LPush(t.Context(), queue, many...).Err())
	}
	require.Equal(t, empty, brokertest.CommandsOf(t, rdb, func() { requireState(t, rdb, redisconn.QueueState{Waiting: 100_000}) }))
}

// A look fails if one of its commands fails. Formerly only the first error of a pipeline counted,
// and that of an empty queue hid the others.
func TestLookFails(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	for _, key := range []string{queue, deadKey, "{calc}:workers", serversKey} {
		require.NoError(t, rdb.Set(t.Context(), key, "a text", 0).Err())
		_, err := redisconn.Look(t.Context(), rdb, queue)
		require.ErrorContains(t, err, "WRONGTYPE", key)
		require.ErrorContains(t, err, broker.Addr)
		require.NoError(t, rdb.Del(t.Context(), key).Err())
	}
	_, err := redisconn.Look(t.Context(), nil, queue)
	require.ErrorContains(t, err, "nil")
	stranger := redis.NewClient(&redis.Options{Addr: broker.Addr, Username: "nobody", Password: "s3cret"})
	t.Cleanup(func() { _ = stranger.Close() })
	_, err = redisconn.Look(t.Context(), stranger, queue)
	require.ErrorContains(t, err, "WRONGPASS", "and not that the time is not known, as once")
	_, err = redisconn.Servers(t.Context(), stranger, queue)
	require.ErrorContains(t, err, "WRONGPASS")
	broker.Kill()
	_, err = redisconn.Look(t.Context(), rdb, queue)
	require.ErrorContains(t, err, broker.Addr)
}

// A look needs the rights that are documented, and each of them.
func TestRightsOfALook(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	opts := leased()
	serve(t, broker.Client(t), opts)
	requireState(t, broker.Client(t), redisconn.QueueState{Servers: 1})
	rights := strings.Fields(stateRights)
	requireState(t, userClient(t, broker, "all", rights...), redisconn.QueueState{Servers: 1})
	for i, right := range rights {
		less := slices.Delete(slices.Clone(rights), i, i+1)
		_, err := redisconn.Look(t.Context(), userClient(t, broker, "less"+right, less...), queue)
		require.Error(t, err, right)
	}
}

// All keys of a look lie on one node of a Cluster.
func TestLookAtACluster(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartRedisCluster(t, 3, 0)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
	t.Cleanup(func() { _ = rdb.Close() })
	serve(t, rdb, leased())
	requireState(t, rdb, redisconn.QueueState{Servers: 1})
}
