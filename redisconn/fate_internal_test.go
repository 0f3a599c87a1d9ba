package redisconn

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// Requests that are left when the grace of Close is over fail, except those whose callers have
// given up.
func TestFailLeft(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer rdb.Close()
	for _, cause := range []error{nil, errors.New("OOM command not allowed")} {
		c := newClientConn(rdb, "calc", DialOptions{ReplyPerCall: true, Logger: slog.New(slog.DiscardHandler)})
		if cause != nil {
			c.state.Failed("sending requests", cause)
		}
		failed := make(chan error, 2)
		left := func(ctx context.Context) *request {
			r := jsonrpc2.NewRequest(ctx, []byte(`{"jsonrpc":"2.0","id":"1","method":"m"}`), jsonrpc2.Hooks{Fail: func(err error) { failed <- err }})
			return &request{Request: r, list: "1", until: time.Now().Add(time.Hour), pushed: true}
		}
		canceled, cancel := context.WithCancel(t.Context())
		givenUp := left(canceled)
		cancel()
		<-givenUp.Context().Done()
		work := []*request{givenUp, left(t.Context())}
		c.outlet.failLeft(work)
		require.Len(t, failed, 1)
		err := <-failed
		require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
		require.ErrorContains(t, err, `jsonrpc2: not sent: queue "calc" at 127.0.0.1:1: closed meanwhile: `)
		if cause != nil {
			require.ErrorIs(t, err, cause)
		}
		got := c.Stats()
		got.Bytes = 0 // the work was never put into the outlet
		require.Equal(t, ClientStats{Unsent: 1, Expired: 1}, got)
		require.NoError(t, c.Close())
	}
}

// The list of a call is forgotten with its answer, or when the call is given up.
func TestPerCallForgets(t *testing.T) {
	t.Parallel()
	p := newPerCall(&replyList{broker: &broker{queue: "calc"}})
	add := func(ctx context.Context, list string) *jsonrpc2.Request {
		r := &request{Request: jsonrpc2.NewRequest(ctx, []byte(`{"jsonrpc":"2.0","id":"`+list+`","method":"m"}`), jsonrpc2.Hooks{}), list: list}
		p.add(r)
		return r.Request
	}
	ctx, cancel := context.WithCancel(t.Context())
	answered, givenUp, failed, waits := add(t.Context(), "a"), add(ctx, "b"), add(t.Context(), "c"), add(t.Context(), "d")
	require.ElementsMatch(t, []string{"a", "b", "c", "d"}, p.lists())
	require.Same(t, answered, p.answered("a"))
	require.Nil(t, p.answered("a"))
	cancel()
	<-givenUp.Context().Done()
	failed.Fail(jsonrpc2.ErrUnavailable)
	require.Equal(t, []string{"d"}, p.lists())
	require.Len(t, p.calls, 1)
	require.Same(t, waits, p.calls["d"])
}
