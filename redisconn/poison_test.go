package redisconn_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/deadtest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// maxAttempts is how often a request is started.
const maxAttempts = 3

// A request whose method panics kills each process that takes it, until it is
// given up. No other call is lost, not even one that ran at the same time.
func TestPoisonKillsProcesses(t *testing.T) {
	t.Parallel()
	const processes, callers, calls = 2, 10, 20
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	v := brokertest.Supervise(t, processes, "panic: poison", serveAddr+"="+broker.Addr)
	poisoned := dial(t, rdb, nil, servicetest.Soon).Go("Poison.Take", struct{}{}, new(int), nil)
	c := dial(t, rdb, nil, servicetest.Soon)
	servicetest.RequireManyAdds(t, c.Client, callers, calls) // while it kills
	<-poisoned.Done
	require.ErrorContains(t, poisoned.Error, "3 times")
	require.Equal(t, maxAttempts, v.Deaths())
	servicetest.RequireManyAdds(t, c.Client, callers, calls) // and when it is gone
	dead, err := redisconn.NewDeadList(rdb, queue).List(context.Background(), -1)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	require.Contains(t, string(dead[0].Request), "Poison.Take")
	v.Drain()
	require.Equal(t, maxAttempts, v.Deaths(), "the others end in good order")
}

// Requests that killed their servers are found, run by a mended server, or deleted.
func TestPoisonOperated(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	v := brokertest.Supervise(t, 2, "panic: poison", serveAddr+"="+broker.Addr)
	c := dial(t, rdb, nil, servicetest.Soon)
	for range 2 {
		call := c.Go("Poison.Take", struct{}{}, new(int), nil)
		<-call.Done
		require.ErrorContains(t, call.Error, "3 times")
	}
	v.Drain()
	require.Equal(t, 2*maxAttempts, v.Deaths())
	deadtest.Operate(t, redisconn.NewDeadList(rdb, queue), func(mended *deadtest.Poison) { serve(t, rdb, leased(), mended) })
	c.requireAdds(t)
	servicetest.EventuallyEqual(t, 4, func() int64 { return c.conn.Stats().Replies }, "of them one to a call that had ended, which is dropped")
}
