package jsonrpc2_test

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/heap"
)

// A server that floods its client neither ends it nor fills its memory: what is
// over a limit is not kept, and what nobody waits for is dropped.
func TestHostileServer(t *testing.T) {
	const limit = 1 << 20
	const allowed = 16*limit + 4<<20 // a stream reads ahead, and ten thousand items are noted
	nest := strings.Repeat("[", 100_000)
	flood := func(item string, n int) string { return strings.Repeat(item, n) }
	for _, test := range []struct {
		name, text string
		times      int
	}{
		{"NULs", flood("\x00", limit) + "\n", 3},
		{"invalid UTF-8", "{\"id\":\"" + flood("\xff", limit/2) + "\"}", 2},
		{"nesting", nest + "\n", 3},
		{"closed nesting", nest[:9000] + flood("]", 9000), 10},
		{"giants", `{"id":ID,"result":"` + flood("x", 2*limit) + `"}`, 3},
		{"unsolicited", flood(`{"jsonrpc":"2.0","id":"stranger's","result":1}`, 10_000), 3},
		{"results as large as may be", `{"jsonrpc":"2.0","id":"stranger's","result":"` + flood("x", limit-100) + `"}`, 3},
		{"batch of millions", "[1" + flood(",1", limit/2-10) + "]", 2},
		{"batch of batches", "[[]" + flood(",[{}]", limit/5-10) + "]", 2},
		{"batch of responses", `[{"id":1}` + flood(`,{"jsonrpc":"2.0","id":1,"result":1}`, limit/40) + "]", 2},
		{"many names", "{\"a\":1" + flood(`,"a":1`, limit/6-10) + "}", 2},
		{"requests", flood(`{"jsonrpc":"2.0","id":1,"method":"a"}`, 10_000), 1},
		{"odd errors", flood(`{"id":null,"error":[]}{"id":1,"error":"x"}{"error":{"code":{}}}`, 3000), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer(t, jsonrpc2.ClientOptions{Timeout: -1, MaxMessageSize: limit})
			p.requireAlive(t)
			before := heap.Live()
			for range test.times {
				_, err := io.WriteString(p.conn, test.text)
				require.NoError(t, err)
				require.Less(t, heap.Live()-before, allowed)
			}
			_, err := io.WriteString(p.conn, "\n")
			require.NoError(t, err)
			p.requireAlive(t)
			require.Less(t, heap.Live()-before, allowed)
			p.requireNothingLeft(t)
		})
	}
}

// A client's calls are answered among as many duplicates of old answers as come.
func TestDuplicatesOfAnswers(t *testing.T) {
	stats := new(jsonrpc2.ClientStats)
	p := newPeer(t, jsonrpc2.ClientOptions{Stats: stats})
	old := p.client.Go("Test.Call", nil, new(string), nil)
	r := <-p.requests
	p.answer(t, r, `"old"`)
	require.NoError(t, (<-old.Done).Error)
	const duplicates, rounds = 10_000, 3
	text := strings.Repeat(`{"jsonrpc":"2.0","id":`+string(r.ID)+`,"result":"again"}`, duplicates)
	for range rounds {
		_, err := io.WriteString(p.conn, text)
		require.NoError(t, err)
		p.requireAlive(t)
	}
	require.EqualValues(t, duplicates*rounds, stats.Snapshot().Dropped)
	require.Equal(t, "old", *old.Reply.(*string))
	p.requireNothingLeft(t)
}
