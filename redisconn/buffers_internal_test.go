package redisconn

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// No buffer keeps a long message: not the server's, which once kept the longest for
// ever, nor the client's.
func TestBuffersAreNotKept(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	const long = 2 << 20
	text := `"` + strings.Repeat("x", long) + `"`

	s := newServerConn(rdb, "calc", ListenOptions{})
	c := newClientConn(rdb, "calc", DialOptions{})
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	call := []byte(`{"jsonrpc":"2.0","id":"1","method":"m","params":[` + text + `]}`)
	require.NoError(t, c.WriteRequest(jsonrpc2.NewRequest(t.Context(), call, jsonrpc2.Hooks{})))
	request, err := s.ReadRequest(t.Context())
	require.NoError(t, err)
	require.Greater(t, len(request.Body), long)
	require.NoError(t, request.Reply([]byte(`{"jsonrpc":"2.0","id":"1","result":`+text+`}`)))
	reply, err := c.ReadReply(t.Context())
	require.NoError(t, err)
	require.Greater(t, len(reply.Body), long)

	for _, read := range []func(context.Context) error{
		func(ctx context.Context) error { _, err := s.ReadRequest(ctx); return err },
		func(ctx context.Context) error { _, err := c.ReadReply(ctx); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, read(ctx), context.Canceled)
	}
	require.LessOrEqual(t, cap(s.deliverer.body), maxKept)
	require.Zero(t, s.deliverer.header, "it has parts of the body")
	require.LessOrEqual(t, cap(c.inbox.body), maxKept)
	require.NoError(t, s.Close())
	c.outlet.pushing <- struct{}{}
	require.LessOrEqual(t, cap(c.outlet.buf), maxKept)
	<-c.outlet.pushing
}
