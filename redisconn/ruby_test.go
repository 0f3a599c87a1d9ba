package redisconn_test

import (
	"context"
	"fmt"
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
	call := func(args ...string) string {
		i := len(args) - 2
		return rubytest.Run(t, "redis_client.rb",
			append(append(args[:i:i], broker.URL(), queue, style), args[i:]...)...)
	}
	rubytest.RequireResults(t, 1, 6.1, call("add", "[1,5.1]"))
	rubytest.RequireResults(t, 1, -4, call("subtract", "[1,5]"))
	rubytest.RequireError(t, -32601, call("multiply", "[1,5]"))
	rubytest.RequireError(t, -32602, call("add", `["a","b"]`))
	require.Empty(t, call("!add", "[1,5.1]"))
	rubytest.RequireResults(t, 200, 6.1, call("--count", "200", "add", "[1,5.1]"))
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
		require.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", [2]float64{1, 5.1}))
		difference, err := jsonrpc2.Call[float64](context.Background(), c.Client, "Calc.Subtract", [2]float64{1, 5})
		require.NoError(t, err)
		require.EqualValues(t, -4, difference)
		c.end(t)
		require.NoError(t, server.Stop())
		requireEmpty(t, rdb)
	}
}
