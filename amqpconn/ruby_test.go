package amqpconn_test

import (
	"context"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/rubytest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// The ways in which the Ruby programs know the reply queue.
var rubyStyles = []string{"id", "late", "reply_to"}

// Ruby's clients declare the queue as a plain one, so that ours must use theirs
// or make one like it. With --passive they use whatever is there.
func TestRubyClients(t *testing.T) {
	t.Parallel()
	plain := &amqpconn.ListenOptions{Queue: amqpconn.Queue{Plain: true}, Logger: servicetest.Quiet}
	for _, test := range []struct {
		name    string
		before  bool // Ruby declares the queue before we do
		opts    *amqpconn.ListenOptions
		passive []string
	}{
		{"theirs first", true, nil, nil},
		{"ours first, plain", false, plain, nil},
		{"ours first, durable", false, nil, []string{"--passive"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if test.before {
				_, _, code := rubytest.RunErr(t, "amqp_client.rb", "--timeout", "0.1", s.url, s.queue, "id", "add", "[1,5.1]")
				require.Equal(t, 1, code, "nobody answers yet")
			}
			w := serve(t, s, test.opts)
			for _, style := range rubyStyles {
				call := func(method, params string) string {
					return rubytest.Run(t, "amqp_client.rb",
						append(test.passive[:len(test.passive):len(test.passive)], s.url, s.queue, style, method, params)...)
				}
				rubytest.RequireResult(t, 6.1, call("add", "[1,5.1]"))
				rubytest.RequireError(t, -32601, call("multiply", "[1,5]"))
			}
			w.End(t)
			s.requireWaiting(t, 0)
			require.Zero(t, w.conn.Stats().Undelivered-btoi(test.before))
		})
	}
}

// btoi is how many of the answers to those that came too early are undelivered.
func btoi(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// The oldest Ruby clients declare their reply queues after they have sent their
// requests.
func TestRubyClientsThatDeclareLate(t *testing.T) {
	t.Parallel()
	const calls = 100
	s := newSite(t)
	w := serve(t, s, nil)
	lines := rubytest.Run(t, "amqp_client.rb", "--passive", "--count", strconv.Itoa(calls), s.url, s.queue, "late", "add", "[1,5.1]")
	require.Equal(t, calls, strings.Count(lines, `"result":6.1`))
	w.End(t)
	servicetest.EventuallyEqual(t, amqpconn.ServerStats{Requests: calls, Replies: calls}, w.conn.Stats)
}

// Ruby's servers declare a plain queue, which our client then uses, and our
// server after them.
func TestRubyServers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, style string
		perCall     bool
	}{
		{"reply_to", "reply_to", false},
		{"reply_to per call", "reply_to", true},
		{"id per call", "id", true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			c := dial(t, s, &amqpconn.DialOptions{ReplyPerCall: test.perCall, Logger: servicetest.Quiet}, 0)
			_, err := c.add(1, 5.1)
			require.ErrorIs(t, err, jsonrpc2.ErrNoServer, "it is there before the server")

			server := rubytest.Start(t, "amqp_server.rb", s.url, s.queue, test.style)
			servicetest.RequireCalls(t, c.Client, 3)
			require.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", calc.Args{A: 1, B: 5.1}))
			difference, err := jsonrpc2.Call[float64](context.Background(), c.Client, "Calc.Subtract", calc.Args{A: 1, B: 5})
			require.NoError(t, err)
			require.EqualValues(t, -4, difference)
			tenant, err := jsonrpc2.Call[float64](jsonrpc2.WithMeta(t.Context(), jsonrpc2.Meta{"tenant": "7"}), c.Client, "Calc.Tenant", nil)
			require.NoError(t, err)
			require.EqualValues(t, 7, tenant)
			require.NoError(t, server.Stop())

			require.True(t, s.declared(t, false, nil))
			w := serve(t, s, nil)
			servicetest.RequireCalls(t, c.Client, 3)
			c.end(t)
			w.End(t)
			s.requireWaiting(t, 0)
		})
	}
}

// A Ruby server and ours share a queue.
func TestRubyServerBesideOurs(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := serve(t, s, &amqpconn.ListenOptions{Queue: amqpconn.Queue{Plain: true}, Logger: servicetest.Quiet})
	rubytest.Start(t, "amqp_server.rb", s.url, s.queue, "reply_to")
	c := dial(t, s, nil, 0)
	servicetest.RequireCalls(t, c.Client, 3)
	require.Less(t, w.conn.Stats().Requests, c.conn.Stats().Requests)
}

// Metadata of Ruby programs and ours arrives, and what Begin refuses reaches both.
func TestRubyMeta(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := serveWith(t, s, nil, jsonrpc2.ServerOptions{Begin: servicetest.Authenticate, Logger: servicetest.Quiet})
	call := func(meta string) string {
		return rubytest.Run(t, "amqp_client.rb", "--passive", s.url, s.queue, "reply_to", "add", "[1,5.1]", meta)
	}
	rubytest.RequireError(t, 401, call(`{"token":"guessed"}`))
	rubytest.RequireResult(t, 6.1, call(`{"token":"s3cret"}`))
	c := dial(t, s, nil, 0)
	servicetest.RequireAuthentication(t, c.Client)
	c.end(t)
	w.End(t)
	s.requireWaiting(t, 0)
}
