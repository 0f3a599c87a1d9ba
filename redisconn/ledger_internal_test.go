package redisconn

import (
	"errors"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// An answer whose notice is dropped, too, is lost once: the codec is told once, and one count
// has it. Formerly both were done for the notice and for the answer.
func TestDroppedNotice(t *testing.T) {
	t.Parallel()
	for name, drop := range map[string]func(*ledger, push){
		"refused":    func(l *ledger, p push) { l.refuse(p, errors.New("WRONGTYPE")) },
		"expired":    (*ledger).expire,
		"lease lost": (*ledger).dropNotHeld,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
			defer rdb.Close()
			conn := newServerConn(rdb, "calc", ListenOptions{Logger: servicetest.Quiet, Prefetch: 10})
			var lost []string
			require.NoError(t, conn.Open(jsonrpc2.Settings{InFlight: 10, Lost: func(body []byte, _ error) { lost = append(lost, string(body)) }}))
			l := conn.replier.ledger
			answer, why := push{kind: pushReply, list: "there", body: []byte(`{"id":1,"result":6.1}`)}, errors.New("too large")
			l.places = link.NewPlaces(1)
			l.places.Take(1)
			drop(l, noticeOf(answer, why))
			l.replaced(answer, why)
			require.Equal(t, []string{string(answer.body)}, lost)
			stats := conn.Stats()
			require.Zero(t, l.places.Taken())
			require.EqualValues(t, 1, stats.Undelivered+stats.Expired+stats.LeaseLost)
		})
	}
}
