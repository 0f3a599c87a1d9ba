package jsonrpc2_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// nestedArray returns an array that nests that deep.
func nestedArray(depth int) string {
	return strings.Repeat("[", depth) + strings.Repeat("]", depth)
}

// A MaxDepth beyond encoding/json's own limit let a request through that no later
// request of the codec survived: each was answered with "exceeded max depth".
func TestTooDeepRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t, jsonrpc2.ServerOptions{MaxDepth: 20_000})
		echo := func(depth int) string { // less the request itself
			return `{"jsonrpc":"2.0","id":1,"method":"Odd.Echo","params":` + nestedArray(depth-1) + `}`
		}
		for range 2 {
			require.True(t, s.offer(echo(10_001)))
			require.Contains(t, s.lastReply(t), `"code":-32600,"message":"nesting exceeds the limit of 10000"`)
			require.True(t, s.offer(echo(10_000)))
			require.Contains(t, s.lastReply(t), `"result":`+nestedArray(9_999))
			require.True(t, s.offer(pass(1)))
			s.slow.Open()
			require.Equal(t, passed(1), s.lastReply(t))
		}
		s.drain()
		require.NoError(t, <-s.done)
	})
}

// A client stays usable after a result that nests too deep: all later results failed.
func TestTooDeepResult(t *testing.T) {
	p := newPeer(t, jsonrpc2.ClientOptions{MaxDepth: 20_000, Timeout: -1})
	call := func(depth int) (json.RawMessage, error) {
		go func() {
			if r, ok := <-p.requests; ok {
				p.answer(t, r, nestedArray(depth-1))
			}
		}()
		return jsonrpc2.Call[json.RawMessage](t.Context(), p.client, "Test.Call", nil)
	}
	for range 2 {
		_, err := call(10_001)
		require.ErrorIs(t, err, jsonrpc2.ErrReplyTooLarge)
		require.ErrorContains(t, err, "nesting exceeds the limit of 10000")
		result, err := call(10_000)
		require.NoError(t, err)
		require.Equal(t, nestedArray(9_999), string(result))
		p.requireAlive(t)
	}
	p.requireNothingLeft(t)
}
