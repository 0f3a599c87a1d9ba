package redisconn

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// When the node failed for what goes together, the first of what goes alone was
// forgotten: its caller was never answered, and its place never freed.
func TestRetrierKeepsAllWhenNodeFails(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{
		Dialer: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Err: errors.New("refused")}
		},
		DialerRetries: 1,
	})
	t.Cleanup(func() { _ = rdb.Close() })
	s := newServerConn(rdb, "queue", ListenOptions{Logger: slog.New(slog.DiscardHandler)})
	s.places = link.NewPlaces(3)
	s.places.Take(3)

	answer := push{kind: pushReply, body: []byte("{}"), until: time.Now().Add(time.Hour)}
	together, first, second := answer, answer, answer
	together.list, first.list, second.list = "together", "first", "second"
	first.alone, second.alone = true, true

	r := s.replier.only.retrier
	r.stalled.putBack([]push{together, first, second})
	due, _, _ := r.stalled.due()
	r.try(due)

	lists := make(map[string]int)
	for _, p := range r.stalled.appendLeft(nil) {
		lists[p.list]++
	}
	require.Equal(t, map[string]int{"together": 1, "first": 1, "second": 1}, lists)
}
