package redisconn

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// No buffer keeps a long message: not the server's, which once kept the longest for
// ever, nor the client's.
func TestBuffersAreNotKept(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	const long = 2 << 20
	text := `"` + strings.Repeat("x", long) + `"`

	s := newServer(rdb, "calc", ListenOptions{})
	c := newCaller(rdb, "calc", DialOptions{})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	require.NoError(t, c.WriteMessage(t.Context(), []byte(`{"jsonrpc":"2.0","id":"1","method":"m","params":[`+text+`]}`)))
	msg, err := s.ReadMessage(t.Context())
	require.NoError(t, err)
	require.Greater(t, len(msg.Body), long)
	require.NoError(t, msg.Reply([]byte(`{"jsonrpc":"2.0","id":"1","result":`+text+`}`)))
	reply, err := c.ReadMessage(t.Context())
	require.NoError(t, err)
	require.Greater(t, len(reply.Body), long)

	for _, read := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := s.ReadMessage(ctx); return err },
		func(ctx context.Context) error { _, err := c.ReadMessage(ctx); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, read(ctx), context.Canceled)
	}
	require.LessOrEqual(t, cap(s.body), maxKept)
	require.LessOrEqual(t, cap(c.body), maxKept)
	require.NoError(t, s.Close())
	c.pushing <- struct{}{}
	require.LessOrEqual(t, cap(c.buf), maxKept)
	<-c.pushing
}
