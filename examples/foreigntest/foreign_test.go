package foreigntest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/rpc"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// callers is how many call at once.
const callers = 20

// TestExamples runs the commands of the README: the clients call a Go server, and each
// server is called by a Go client.
func TestExamples(t *testing.T) {
	t.Parallel()
	w := newWorkspace(t)
	t.Cleanup(func() { // when all have ended
		broker := brokertest.SharedRabbitMQ(t)
		if !t.Failed() {
			servicetest.EventuallyEqual(t, "", func() string { return broker.Queues("name") }, "queues that are left")
		}
	})
	clients := make(map[string][]program) // by transport
	for _, p := range programs(t) {
		if p.role == "client" {
			clients[p.transport] = append(clients[p.transport], p)
			continue
		}
		t.Run(p.file, func(t *testing.T) {
			t.Parallel()
			s := sites[p.transport](t)
			testServer(t, w, p, s)
			s.empty(t)
			if p.transport == "amqp" {
				testPlainQueue(t, w, p)
			}
		})
	}
	t.Run("rights", func(t *testing.T) {
		t.Parallel()
		testRights(t, w)
	})
	for transport, programs := range clients {
		t.Run(transport+"/clients", func(t *testing.T) {
			t.Parallel()
			s := sites[transport](t)
			testClients(t, w, programs, s)
			s.empty(t)
		})
	}
}

func testClients(t *testing.T, w workspace, clients []program, s site) {
	for _, p := range clients {
		switch p.transport {
		case "redis":
			requireReplyList(t, w, p, s.(*redisSite))
		case "amqp":
			requireFails(t, w.run(t.Context(), p.command, s.env()), "no queue")
		case "http":
			requireFails(t, w.run(t.Context(), p.command, s.env()), "REFUSED")
		}
	}
	stats := new(jsonrpc2.ServerStats)
	goServer := servicetest.Serve(t, s.listen(t), jsonrpc2.ServerOptions{Stats: stats})
	whenServed(t, s)
	for _, p := range clients {
		require.Equal(t, outcome{stdout: "6.1\n", succeeded: true}, w.run(t.Context(), p.command, s.env()))
		requireFails(t, w.run(t.Context(), p.calling(`multiply '[1,5]'`), s.env()), "-32601")
		require.Equal(t, outcome{succeeded: true}, w.run(t.Context(), p.calling(exampleCall+" notify"), s.env()))
	}
	notifications := func() int64 { return stats.Snapshot().Done }
	servicetest.EventuallyEqual(t, int64(len(clients)), notifications, "notifications")

	var calls sync.WaitGroup
	for i := range callers { // of all languages
		calls.Go(func() {
			line := clients[i%len(clients)].calling(fmt.Sprintf(`add '{"a":%d,"b":0.5}'`, i))
			want := outcome{stdout: fmt.Sprintf("%d.5\n", i), succeeded: true}
			assert.Equal(t, want, w.run(t.Context(), line, s.env()))
		})
	}
	calls.Wait()
	goServer.End(t)
}

// requireReplyList keeps a client on Redis to a reply list that the ACL of docs/operations.md
// allows, and that servers without reply_to answer on, too: the test is one.
func requireReplyList(t *testing.T, w workspace, p program, s *redisSite) {
	t.Helper()
	client := w.launch(t.Context(), p.command, s.env())
	popped, err := s.rdb.BRPop(t.Context(), servicetest.Soon, queue).Result()
	require.NoError(t, err)
	var request struct {
		ID      string
		ReplyTo string `json:"reply_to"`
	}
	require.NoError(t, json.Unmarshal([]byte(popped[1]), &request))
	require.Regexp(t, `^jsonrpc2:reply:[0-9a-f-]{36}$`, request.ID)
	require.Equal(t, request.ID, request.ReplyTo)
	answer := fmt.Sprintf(`{"jsonrpc":"2.0","result":6.1,"id":%q}`, request.ID)
	require.NoError(t, s.rdb.RPush(t.Context(), request.ID, answer).Err())
	require.True(t, client.succeeded(), client.stderr.String())
	require.Equal(t, "6.1\n", client.stdout.String())
}

// requireFails requires that a client has failed, and has said why, in any case.
func requireFails(t *testing.T, got outcome, why string) {
	t.Helper()
	require.False(t, got.succeeded, got.stdout)
	require.Empty(t, got.stdout)
	require.Contains(t, strings.ToLower(got.stderr), strings.ToLower(why))
}

// whenServed returns when a call to the server has been answered.
func whenServed(t *testing.T, s site) {
	t.Helper()
	client := newClient(t, s.dial(false))
	servicetest.RequireAdds(t, client)
	require.NoError(t, client.Close())
}

func testServer(t *testing.T, w workspace, p program, s site) {
	first := w.start(t, p.command, s.env())
	for _, replyPerCall := range []bool{false, true} {
		client := newClient(t, s.dial(replyPerCall))
		requireServed(t, client)
		require.NoError(t, client.Close())
	}
	requireBatches(t, s)
	s.odd(t, &first.stderr)
	if p.transport == "http" { // one server has the port
		first.stop(t)
	} else {
		testHandover(t, w, p, s, first)
	}
}

// newClient returns a client that waits for the broker and the server. The test's cleanup
// closes it, if the test does not.
func newClient(t *testing.T, conn jsonrpc2.ClientConn) *rpc.Client {
	client := jsonrpc2.NewClient(jsonrpc2.Retry(conn, nil), &jsonrpc2.ClientOptions{Service: "Calc", Positional: true})
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// Named are the params of add, by name.
type Named struct {
	A float64 `json:"a"`
	B float64 `json:"b"`
}

func requireServed(t *testing.T, client *rpc.Client) {
	t.Helper()
	servicetest.RequireAdds(t, client)
	sum, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", map[string]float64{"a": 1, "b": 5.1})
	require.NoError(t, err)
	require.Equal(t, 6.1, sum)
	for _, method := range []string{"Calc.Multiply", "Calc.Constructor", "Calc.Error"} {
		_, err = jsonrpc2.Call[float64](t.Context(), client, method, Named{1, 5})
		servicetest.RequireCode(t, jsonrpc2.CodeMethodNotFound, err)
	}
	for _, wrong := range []any{[]string{"a", "b"}, []float64{1}, []any{1, nil}, map[string]float64{"a": 1}, nil} {
		_, err = jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", wrong)
		servicetest.RequireCode(t, jsonrpc2.CodeInvalidParams, err)
	}
	_, err = jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", []float64{1.7e308, 1.7e308})
	servicetest.RequireCode(t, jsonrpc2.CodeInternal, err)

	require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Calc.Add", Named{1, 5}))
	require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Calc.Multiply", Named{1, 5}))
	servicetest.RequireManyAdds(t, client, callers, 5)
}

// testHandover stops the first of two servers while calls come in: each is answered.
func testHandover(t *testing.T, w workspace, p program, s site, first *server) {
	second := w.start(t, p.command, s.env())
	client := newClient(t, s.dial(false))
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	for i := range callers {
		calls.Go(func() {
			for ctx.Err() == nil {
				assert.NoError(t, servicetest.AddMany(client, i, 5))
			}
		})
	}
	first.stop(t)
	cancel()
	calls.Wait()
	require.NoError(t, client.Close())
	second.stop(t)
}

// testPlainQueue requires that a server uses a queue that is there as it is.
func testPlainQueue(t *testing.T, w workspace, p program) {
	s := &amqpSite{brokertest.SharedRabbitMQ(t), t.Name() + "/plain"}
	_, err := s.channel(t).QueueDeclare(s.queue, false, false, false, false, nil)
	require.NoError(t, err)
	server := w.start(t, p.command, s.env())
	client := newClient(t, s.dial(false))
	servicetest.RequireAdds(t, client)
	require.NoError(t, client.Close())
	server.stop(t)
	s.empty(t)
}
