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
		tenant, err := jsonrpc2.Call[float64](jsonrpc2.WithMeta(t.Context(), jsonrpc2.Meta{"tenant": "7"}), c.Client, "Calc.Tenant", nil)
		require.NoError(t, err)
		require.EqualValues(t, 7, tenant)
		c.end(t)
		require.NoError(t, server.Stop())
		requireEmpty(t, rdb)
	}
}

// Metadata of Ruby programs and ours arrives, and what Begin refuses reaches both.
func TestRubyMeta(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	codec := &jsonrpc2.ServerOptions{Begin: servicetest.Authenticate, Logger: servicetest.Quiet}
	w := serveWith(t, rdb, nil, codec)
	call := func(meta string) string {
		return rubytest.Run(t, "redis_client.rb", broker.URL(), queue, "reply_to", "add", "[1,5.1]", meta)
	}
	rubytest.RequireError(t, 401, call(`{"token":"guessed"}`))
	rubytest.RequireResult(t, 6.1, call(`{"token":"s3cret"}`))
	c := dial(t, rdb, nil, 0)
	servicetest.RequireAuthentication(t, c.Client)
	c.end(t)
	w.End(t)
	requireEmpty(t, rdb)
}
