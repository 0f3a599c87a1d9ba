package redisconn_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/rubytest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// The ways in which the Ruby programs know the reply list.
var rubyStyles = []string{"id", "reply_to"}

func TestRubyClients(t *testing.T) {
	t.Parallel()
	for _, atLeastOnce := range []bool{false, true} {
		t.Run(fmt.Sprintf("at least once %v", atLeastOnce), func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			rdb := broker.Client(t)
			w := serve(t, rdb, &redisconn.ListenOptions{Guarantee: guarantee(atLeastOnce), Logger: servicetest.Quiet})
			for _, style := range rubyStyles {
				requireRubyCalls(t, broker, style)
			}
			w.End(t)
			requireEmpty(t, rdb)
		})
	}
}

func requireRubyCalls(t *testing.T, broker *brokertest.Redis, style string) {
	t.Helper()
	call := func(args ...string) []rubyResponse {
		i := len(args) - 2
		return parseResponses(t, rubytest.Run(t, "redis_client.rb",
			append(append(args[:i:i], broker.URL(), queue, style), args[i:]...)...))
	}
	requireResults(t, 1, 6.1, call("add", "[1,5.1]"))
	requireResults(t, 1, -4, call("subtract", "[1,5]"))
	requireErrorCode(t, -32601, call("multiply", "[1,5]"))
	requireErrorCode(t, -32602, call("add", `["a","b"]`))
	require.Empty(t, call("!add", "[1,5.1]"))
	requireResults(t, 200, 6.1, call("--count", "200", "add", "[1,5.1]"))
}

type rubyResponse struct {
	JSONRPC, ID string
	Result      *float64
	Error       *struct{ Code int64 }
}

func parseResponses(t *testing.T, lines string) (responses []rubyResponse) {
	t.Helper()
	for line := range strings.Lines(lines) {
		var r rubyResponse
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		require.Equal(t, "2.0", r.JSONRPC)
		require.NotEmpty(t, r.ID)
		responses = append(responses, r)
	}
	return responses
}

func requireResults(t *testing.T, n int, want float64, responses []rubyResponse) {
	t.Helper()
	require.Len(t, responses, n)
	for _, r := range responses {
		require.Nil(t, r.Error)
		require.Equal(t, want, *r.Result)
	}
}

func requireErrorCode(t *testing.T, want int64, responses []rubyResponse) {
	t.Helper()
	require.Len(t, responses, 1)
	require.Nil(t, responses[0].Result)
	require.Equal(t, want, responses[0].Error.Code)
}

func TestRubyServers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		style   string
		perCall bool
	}{{"reply_to", false}, {"reply_to", true}, {"id", true}} {
		broker := brokertest.StartRedis(t)
		rdb := broker.Client(t)
		server := rubytest.Start(t, "redis_server.rb", broker.URL(), queue, test.style)
		conn := mustDial(t, rdb, queue, &redisconn.DialOptions{ReplyPerCall: test.perCall, Logger: servicetest.Quiet})
		// The Ruby servers know params by position only.
		c := caller{jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc", Positional: true, Logger: servicetest.Quiet}), conn}
		servicetest.RequireCalls(t, c.Client, 2)
		require.NoError(t, jsonrpc2.Notify(c.Client, "Calc.Add", [2]float64{1, 5.1}))
		difference, err := jsonrpc2.Call[float64](context.Background(), c.Client, "Calc.Subtract", [2]float64{1, 5})
		require.NoError(t, err)
		require.EqualValues(t, -4, difference)
		c.end(t)
		require.NoError(t, server.Stop())
		requireEmpty(t, rdb)
	}
}
