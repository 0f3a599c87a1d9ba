package rubytest_test

import (
	"context"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/rubytest"
)

var styles = []string{"id", "reply_to"}

func TestRedis(t *testing.T) {
	t.Parallel()
	for _, style := range styles {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			redis := brokertest.StartRedis(t)
			server := rubytest.Start(t, "redis_server.rb", redis.URL(), "calc", style)
			client := func(args ...string) string {
				return rubytest.Run(t, "redis_client.rb", append([]string{redis.URL(), "calc", style}, args...)...)
			}
			require.Empty(t, client("!add", "[1,5.1]"))
			requireCalc(t, client)
			require.NoError(t, server.Stop())
			require.Zero(t, redis.Client(t).DBSize(context.Background()).Val())
		})
	}
}

func TestRedisManyCalls(t *testing.T) {
	t.Parallel()
	for _, style := range styles {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			redis := brokertest.StartRedis(t)
			rubytest.Start(t, "redis_server.rb", redis.URL(), "calc", style)
			responses := rubytest.Run(t, "redis_client.rb", "--count", "100", redis.URL(), "calc", style, "add", "[1,5.1]")
			rubytest.RequireResults(t, 100, 6.1, responses)
			require.Zero(t, redis.Client(t).DBSize(context.Background()).Val())
		})
	}
}

func TestRedisServerKnowsOneAddress(t *testing.T) {
	t.Parallel()
	redis := brokertest.StartRedis(t)
	requests := map[string]string{
		"id":       `{"params":[1,5],"method":"subtract","id":"there","reply_to":"elsewhere"}`,
		"reply_to": `{"params":[1,5],"method":"subtract","id":"elsewhere","reply_to":"there"}`,
	}
	for _, style := range styles {
		server := rubytest.Start(t, "redis_server.rb", redis.URL(), "calc", style)
		raw := func(args ...string) string {
			return rubytest.Run(t, "redis_client.rb", append([]string{redis.URL(), "calc", "raw"}, args...)...)
		}
		require.Empty(t, raw("-{garbage")) // names no reply list: nobody is answered, and the server works on
		rubytest.RequireResult(t, -4, raw(requests[style], "there"))
		require.NoError(t, server.Stop())
	}
	require.Zero(t, redis.Client(t).DBSize(context.Background()).Val())
}

func TestRedisTimeout(t *testing.T) {
	t.Parallel()
	redis := brokertest.StartRedis(t)
	_, stderr, code := rubytest.RunErr(t, "redis_client.rb", "--timeout", "0.1", redis.URL(), "calc", "id", "add", "[1,5.1]")
	require.Equal(t, "no response within 0.1 s\n", stderr)
	require.Equal(t, 1, code)
}

func TestAMQP(t *testing.T) {
	t.Parallel()
	url := brokertest.SharedRabbitMQ(t).URL()
	for _, style := range styles {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			queue := t.Name()
			server := rubytest.Start(t, "amqp_server.rb", url, queue, style)
			client := func(args ...string) string {
				return rubytest.Run(t, "amqp_client.rb", append([]string{url, queue, style}, args...)...)
			}
			require.Empty(t, client("!add", "[1,5.1]"))
			requireCalc(t, client)
			require.NoError(t, server.Stop())
		})
	}
}

func TestAMQPManyCalls(t *testing.T) {
	t.Parallel()
	url := brokertest.SharedRabbitMQ(t).URL()
	for _, style := range styles {
		t.Run(style, func(t *testing.T) {
			t.Parallel()
			queue := t.Name()
			rubytest.Start(t, "amqp_server.rb", url, queue, style)
			responses := rubytest.Run(t, "amqp_client.rb", "--count", "100", url, queue, style, "add", "[1,5.1]")
			rubytest.RequireResults(t, 100, 6.1, responses)
		})
	}
}

func TestAMQPTimeout(t *testing.T) {
	t.Parallel()
	url := brokertest.SharedRabbitMQ(t).URL()
	_, stderr, code := rubytest.RunErr(t, "amqp_client.rb", "--timeout", "0.1", url, t.Name(), "id", "add", "[1,5.1]")
	require.Equal(t, "no response within 0.1 s\n", stderr)
	require.Equal(t, 1, code)
}

func TestAMQPDurableQueue(t *testing.T) {
	t.Parallel()
	url, queue := brokertest.SharedRabbitMQ(t).URL(), t.Name()
	declareDurable(t, url, queue)

	_, stderr, code := rubytest.RunErr(t, "amqp_client.rb", url, queue, "reply_to", "add", "[1,5.1]")
	require.Contains(t, stderr, "PRECONDITION_FAILED")
	require.Equal(t, 1, code)

	rubytest.Start(t, "amqp_server.rb", "--passive", url, queue, "reply_to")
	rubytest.RequireResult(t, 6.1, rubytest.Run(t, "amqp_client.rb", "--passive", url, queue, "reply_to", "add", "[1,5.1]"))
}

func declareDurable(t *testing.T, url, queue string) {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	_, err = ch.QueueDeclare(queue, true, false, false, false, nil)
	require.NoError(t, err)
}

func TestHTTP(t *testing.T) {
	t.Parallel()
	port := brokertest.FreePort(t)
	server := rubytest.Start(t, "http_server.rb", port)
	client := func(args ...string) string {
		return rubytest.Run(t, "http_client.rb", append([]string{"http://127.0.0.1:" + port + "/calc"}, args...)...)
	}
	require.Equal(t, "204\n", client("!add", "[1,5.1]"))
	requireCalc(t, func(args ...string) string {
		body, ok := strings.CutPrefix(client(args...), "200\n")
		require.True(t, ok)
		return body
	})
	require.NoError(t, server.Stop())
}

// requireCalc requires the answers of the example service. client runs a client script with a
// method and its params.
func requireCalc(t *testing.T, client func(args ...string) string) {
	t.Helper()
	rubytest.RequireResult(t, 6.1, client("add", "[1,5.1]"))
	rubytest.RequireResult(t, -4, client("subtract", "[1,5]"))
	rubytest.RequireError(t, -32601, client("multiply", "[1,5]"))
	rubytest.RequireError(t, -32602, client("add", `["a","b"]`))
}
