package redisconn

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// The caller of a dead request hears of it though the drain began before the codec, whose
// places were all taken, read again.
func TestDeadRequestInADrain(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	conn := newServerConn(rdb, "calc", ListenOptions{Guarantee: jsonrpc2.AtLeastOnce, Logger: servicetest.Quiet})
	require.NoError(t, conn.Open(jsonrpc2.Settings{InFlight: 1, Lost: func([]byte, error) {}}))
	ctx, drain := context.WithCancel(t.Context())
	conn.start.Do(func() { conn.run(ctx) })
	conn.fetcher.bury(`{"jsonrpc":"2.0","id":"1","method":"add","reply_to":"jsonrpc2:reply:1"}`, 3)
	drain()
	<-conn.fetcher.draining

	d, err := conn.ReadRequest(ctx)
	require.NoError(t, err)
	require.Error(t, d.Err)
	require.NoError(t, d.Reply([]byte("it is dead")))
	_, err = conn.ReadRequest(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, conn.Close())
	require.Equal(t, []string{"it is dead"}, rdb.LRange(t.Context(), "jsonrpc2:reply:1", 0, -1).Val())
	require.Zero(t, conn.Stats().InFlight)
}
