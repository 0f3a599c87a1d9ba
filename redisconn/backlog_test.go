package redisconn_test

import (
	"context"
	"net/rpc"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// No more requests wait in the queue than the limit says: further calls fail at
// once, unsent, until servers have caught up.
func TestMaxBacklog(t *testing.T) {
	t.Parallel()
	for _, perCall := range []bool{false, true} {
		broker := brokertest.StartRedis(t)
		rdb := broker.Client(t)
		opts := &redisconn.DialOptions{MaxBacklog: 5, ReplyPerCall: perCall, Logger: servicetest.Quiet}
		push(t, rdb, add("there"), add("there")) // somebody else's
		c := dial(t, rdb, opts, 0)
		done := make(chan *rpc.Call, 20)
		for range 20 {
			c.Go("Calc.Add", calc.Args{A: 1, B: 5.1}, new(float64), done)
		}
		for range 17 {
			err := (<-done).Error
			require.True(t, strings.HasPrefix(err.Error(), jsonrpc2.ErrOverloaded.Error()), err)
			require.ErrorContains(t, err, `requests waiting in queue "calc": 5`)
		}
		requireLen(t, rdb, queue, 5)
		_, err := c.add(1, 5.1)
		require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
		require.EqualValues(t, 18, c.conn.Stats().Overloaded)
		require.EqualValues(t, 3, c.conn.Stats().Requests)

		serve(t, rdb, nil)
		for range 3 {
			require.NoError(t, (<-done).Error)
		}
		servicetest.Eventually(t, func() bool { _, err := c.add(1, 5.1); return err == nil })
		require.EqualValues(t, 0, rdb.LLen(context.Background(), queue).Val())
	}
}

// Without a limit a client does not ask for the length of the queue. With one it asks seldom.
func TestMaxBacklogAsksSeldom(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	serve(t, rdb, nil)
	unlimited := dial(t, rdb, nil, 0)
	servicetest.RequireManyAdds(t, unlimited.Client, 64, 10)
	require.EqualValues(t, 1, commandCalls(rdb, "llen"), "at the begin, to learn whether Redis answers")
	limited := dial(t, rdb, &redisconn.DialOptions{MaxBacklog: 1000, Logger: servicetest.Quiet}, 0)
	servicetest.RequireManyAdds(t, limited.Client, 64, 10)
	require.Less(t, commandCalls(rdb, "llen"), commandCalls(rdb, "lpush"))
}
