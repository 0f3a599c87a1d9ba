package redisconn_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A batch that kills its servers is given up as any other request, whatever its first
// item is: all of its items are answered with an error. Once a batch whose first item
// is no object was dead after one death.
func TestPoisonBatch(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]string{
		"a number":     ` [1,{"jsonrpc":"2.0","id":"there","method":"Poison.Take"}]`,
		"an array":     `[[{"id":"elsewhere"}],{"jsonrpc":"2.0","id":"there","method":"Poison.Take"}]`,
		"a broken one": `[{"id":["elsewhere"]},{"jsonrpc":"2.0","id":"there","method":"Poison.Take"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			rdb := broker.Client(t)
			push(t, rdb, batch)
			v := brokertest.Supervise(t, 1, "panic: poison", serveAddr+"="+broker.Addr)
			const text = `"given up: its server died each of the 3 times that it was started"`
			require.JSONEq(t, `[
				{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":`+text+`}},
				{"jsonrpc":"2.0","id":"there","error":{"code":-32000,"message":`+text+`}}
			]`, pop(t, rdb, "there"))
			push(t, rdb, add("later"))
			require.Equal(t, six, pop(t, rdb, "later"))
			v.Drain()
			require.Equal(t, maxAttempts, v.Deaths())
			list := redisconn.NewDeadList(rdb, queue)
			dead, err := list.List(t.Context(), -1)
			require.NoError(t, err)
			require.Len(t, dead, 1)
			require.Equal(t, batch, string(dead[0].Request))
			require.Equal(t, maxAttempts, dead[0].Attempts)
			deleted, err := list.Delete(t.Context(), dead[0])
			require.NoError(t, err)
			require.True(t, deleted)
			requireOnlyServers(t, rdb) // that died
		})
	}
}

// A DeadList keeps the newest MaxDead requests: of more the oldest leave, which is
// counted and logged.
func TestMaxDead(t *testing.T) {
	t.Parallel()
	const dies = 3
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	entries := make([]any, redisconn.MaxDead-1) // there is a place for one
	for i := range entries {
		entries[i] = fmt.Sprintf(`{"time":1000,"attempts":1,"reason":"r"}`+"\n%d", i)
	}
	require.NoError(t, rdb.LPush(t.Context(), deadKey, entries...).Err())
	opts := leased()
	opts.MaxAttempts = 1
	push(t, rdb, waits(dies, "there")...)
	d := listenDying(t, broker, opts)
	for range dies {
		d.read(t)
	}
	d.die(t)

	var log servicetest.LogBook
	opts.Logger = log.Logger()
	w := serve(t, rdb, opts)
	for range dies {
		require.Contains(t, pop(t, rdb, "there"), "1 times")
	}
	w.End(t)
	require.EqualValues(t, dies, w.conn.Stats().Dead)
	require.EqualValues(t, dies-1, w.conn.Stats().DeadDropped)
	require.Equal(t, 1, log.Count("the oldest dead requests dropped", "requests=2", "limit=10000"), &log)
	dead, err := redisconn.NewDeadList(rdb, queue).List(t.Context(), -1)
	require.NoError(t, err)
	require.Len(t, dead, redisconn.MaxDead)
	for i, request := range waits(dies, "there") {
		require.Equal(t, request, string(dead[dies-1-i].Request))
	}
	require.Equal(t, fmt.Sprint(dies-1), string(dead[len(dead)-1].Request), "the oldest that is left")
}
