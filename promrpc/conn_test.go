package promrpc_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/promrpc"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// always returns a method Stats of something that has done this.
func always[S any](stats S) func() S { return func() S { return stats } }

// The Stats of all transports fit into one registry, and follow the naming rules of
// Prometheus. All their fields are told.
func TestTransports(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	for _, test := range []struct {
		collector prometheus.Collector
		fields    int
	}{
		{promrpc.NewClientConnCollector("redis", "calc", always(redisconn.ClientStats{})), fields[redisconn.ClientStats]()},
		{promrpc.NewClientConnCollector("redis", "mail", always(redisconn.ClientStats{})), fields[redisconn.ClientStats]()},
		{promrpc.NewServerConnCollector("redis", "calc", always(redisconn.ServerStats{})), fields[redisconn.ServerStats]()},
		{promrpc.NewClientConnCollector("amqp", "calc", always(amqpconn.ClientStats{})), fields[amqpconn.ClientStats]()},
		{promrpc.NewServerConnCollector("amqp", "calc", always(amqpconn.ServerStats{}), "replies"), fields[amqpconn.ServerStats]()},
		{promrpc.NewClientConnCollector("http", "calc", always(httpconn.ClientStats{})), fields[httpconn.ClientStats]()},
		{promrpc.NewServerConnCollector("http", "calc", always(httpconn.ServerStats{})), fields[httpconn.ServerStats]()},
	} {
		require.Equal(t, test.fields, testutil.CollectAndCount(test.collector))
		require.NoError(t, registry.Register(test.collector))
	}
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

// What falls again is no counter: a rate would take each fall for a restart.
func TestGauges(t *testing.T) {
	t.Parallel()
	c := promrpc.NewClientConnCollector("http", "calc", always(httpconn.ClientStats{Requests: 7, InFlight: 3, Waiting: 2, Bytes: 100}))
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP jsonrpc2_conn_client_bytes "bytes" in the Stats of the transport's client end.
# TYPE jsonrpc2_conn_client_bytes gauge
jsonrpc2_conn_client_bytes{queue="calc",transport="http"} 100
# HELP jsonrpc2_conn_client_in_flight "in_flight" in the Stats of the transport's client end.
# TYPE jsonrpc2_conn_client_in_flight gauge
jsonrpc2_conn_client_in_flight{queue="calc",transport="http"} 3
# HELP jsonrpc2_conn_client_requests_total "requests" in the Stats of the transport's client end.
# TYPE jsonrpc2_conn_client_requests_total counter
jsonrpc2_conn_client_requests_total{queue="calc",transport="http"} 7
# HELP jsonrpc2_conn_client_waiting "waiting" in the Stats of the transport's client end.
# TYPE jsonrpc2_conn_client_waiting gauge
jsonrpc2_conn_client_waiting{queue="calc",transport="http"} 2
`)))
}

// A transport's Stats, with what is of no use.
type stats struct {
	Requests int64 `json:"requests,omitempty"`
	InFlight int64 `json:"in_flight"`
	Replies  int64 `json:"replies"`
	Bytes    int64 `json:"bytes"`
	Other    int64
	Hidden   int64   `json:"-"`
	Ratio    float64 `json:"ratio"`
}

func TestConnCollector(t *testing.T) {
	t.Parallel()
	now := stats{Requests: 7, InFlight: 2, Replies: 5, Bytes: 300}
	c := promrpc.NewServerConnCollector("nats", "calc", func() stats { return now }, "replies")
	now.Requests++
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP jsonrpc2_conn_server_bytes "bytes" in the Stats of the transport's server end.
# TYPE jsonrpc2_conn_server_bytes gauge
jsonrpc2_conn_server_bytes{queue="calc",transport="nats"} 300
# HELP jsonrpc2_conn_server_in_flight "in_flight" in the Stats of the transport's server end.
# TYPE jsonrpc2_conn_server_in_flight gauge
jsonrpc2_conn_server_in_flight{queue="calc",transport="nats"} 2
# HELP jsonrpc2_conn_server_replies "replies" in the Stats of the transport's server end.
# TYPE jsonrpc2_conn_server_replies gauge
jsonrpc2_conn_server_replies{queue="calc",transport="nats"} 5
# HELP jsonrpc2_conn_server_requests_total "requests" in the Stats of the transport's server end.
# TYPE jsonrpc2_conn_server_requests_total counter
jsonrpc2_conn_server_requests_total{queue="calc",transport="nats"} 8
`)))
}

// What has no counts is refused when it is registered, and not noticed years later.
func TestConnCollectorWithoutCounts(t *testing.T) {
	t.Parallel()
	for _, c := range []prometheus.Collector{
		promrpc.NewClientConnCollector("nats", "calc", always(struct{ Requests int64 }{})),
		promrpc.NewClientConnCollector("nats", "calc", always(7)),
		promrpc.NewClientConnCollector("nats", "calc", always(&stats{})),
	} {
		require.ErrorContains(t, prometheus.NewRegistry().Register(c), "is no struct with counts")
	}
}
