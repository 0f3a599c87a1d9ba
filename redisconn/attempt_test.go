package redisconn_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// A Retried is a service whose method tells how often it was begun.
type Retried struct{}

// RetriedArgs see the context of their call.
type RetriedArgs struct {
	jsonrpc2.Context
}

// Attempt returns how often the call was begun.
func (Retried) Attempt(args RetriedArgs, n *int) error {
	*n = jsonrpc2.CallFrom(args).Attempt
	return nil
}

// A method may ask how often it was begun. Only servers with AtLeastOnce know that.
// What a stranger writes is no such count.
func TestAttempt(t *testing.T) {
	t.Parallel()
	const (
		call     = `{"jsonrpc":"2.0","id":"1","reply_to":"there","method":"Retried.Attempt","attempt":9}`
		batch    = `[` + call + `]`
		answered = `{"jsonrpc":"2.0","id":"1","result":`
	)
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	push(t, rdb, call)
	d := listenDying(t, broker, leased())
	require.Equal(t, 1, d.read(t).Attempt)
	d.die(t)

	w := serve(t, rdb, leased(), Retried{})
	require.Equal(t, answered+"2}", pop(t, rdb, "there"))
	push(t, rdb, call)
	require.Equal(t, answered+"1}", pop(t, rdb, "there"))
	require.NoError(t, rdb.RPush(t.Context(), suspectsKey, "3 "+batch).Err())
	require.Equal(t, "["+answered+"4}]", pop(t, rdb, "there"))
	w.End(t)

	w = serve(t, rdb, nil, Retried{})
	push(t, rdb, call)
	require.Equal(t, answered+"0}", pop(t, rdb, "there"))
	w.End(t)
}
