package redisconn_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A client without calls under way asks Redis nothing after a while. It works on with the next
// call, and looks again when it is asked how it is.
func TestIdleClient(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	var log servicetest.LogBook
	c := dial(t, rdb, &redisconn.DialOptions{Logger: log.Logger()}, 0)
	slow := servicetest.NewSlow()
	requireBlocked(t, rdb, 1)
	requireBlocked(t, rdb, 0) // it rests
	serve(t, rdb, nil, slow)
	requireBlocked(t, rdb, 1) // the server
	c.requireAdds(t)

	waiting := c.Go("Slow.Wait", 1, new(int), nil)
	slow.RequireRunning(t, 1)
	pops := commandCalls(rdb, "blmpop")
	servicetest.Eventually(t, func() bool { return commandCalls(rdb, "blmpop") >= pops+3 }, "a client with a call under way rests")
	slow.Open()
	require.NoError(t, (<-waiting.Done).Error)
	requireBlocked(t, rdb, 1) // it rests again

	broker.Kill()
	servicetest.Eventually(t, func() bool { return c.conn.Err() != nil }, "a resting client does not look")
	broker.Start()
	servicetest.Eventually(t, func() bool { return c.conn.Err() == nil }, "a resting client does not look")
	c.requireAdds(t)
	require.Equal(t, 1, log.Count(`msg="connection works again"`), &log)
	require.Equal(t, int64(1), c.conn.Stats().Reconnects)
}
