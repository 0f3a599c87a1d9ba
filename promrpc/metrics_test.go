package promrpc_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/promrpc"
)

const (
	clientEnded    = "jsonrpc2_client_requests_ended_total"
	clientDuration = "jsonrpc2_client_request_duration_seconds"
	serverDuration = "jsonrpc2_server_request_duration_seconds"
)

// What both ends count of the same requests.
func TestCounts(t *testing.T) {
	t.Parallel()
	p := newPair(t, "calc", nil, jsonrpc2.ClientOptions{})
	ctx := t.Context()
	servicetest.RequireAdds(t, p.rpc)
	servicetest.RequireAdds(t, p.rpc)
	_, err := jsonrpc2.Call[float64](ctx, p.rpc, "Calc.Add", []string{"a", "b"})
	servicetest.RequireCode(t, jsonrpc2.CodeInvalidParams, err)
	require.NoError(t, jsonrpc2.Notify(ctx, p.rpc, "Calc.Add", calc.Args{}))
	servicetest.RequireAdds(t, p.rpc) // the notification was read before
	servicetest.Eventually(t, func() bool { return p.server.Stats.Snapshot().Done == 1 })
	pending := p.rpc.Go("Slow.Wait", 1, new(int), nil)
	p.slow.RequireRunning(t, 1)

	require.NoError(t, testutil.CollectAndCompare(p.client, strings.NewReader(`
# HELP jsonrpc2_client_discarded_total What arrived and was the answer to nothing that waits.
# TYPE jsonrpc2_client_discarded_total counter
jsonrpc2_client_discarded_total{queue="calc",reason="dropped"} 0
jsonrpc2_client_discarded_total{queue="calc",reason="invalid"} 0
# HELP jsonrpc2_client_requests_begun_total Calls and notifications that have begun.
# TYPE jsonrpc2_client_requests_begun_total counter
jsonrpc2_client_requests_begun_total{kind="call",queue="calc"} 5
jsonrpc2_client_requests_begun_total{kind="notification",queue="calc"} 1
# HELP jsonrpc2_client_requests_ended_total Calls and notifications that have ended, by how they have.
# TYPE jsonrpc2_client_requests_ended_total counter
jsonrpc2_client_requests_ended_total{outcome="answered",queue="calc"} 3
jsonrpc2_client_requests_ended_total{outcome="bad_reply",queue="calc"} 0
jsonrpc2_client_requests_ended_total{outcome="canceled",queue="calc"} 0
jsonrpc2_client_requests_ended_total{outcome="closed",queue="calc"} 0
jsonrpc2_client_requests_ended_total{outcome="error",queue="calc"} 1
jsonrpc2_client_requests_ended_total{outcome="reply_lost",queue="calc"} 0
jsonrpc2_client_requests_ended_total{outcome="reply_too_large",queue="calc"} 0
jsonrpc2_client_requests_ended_total{outcome="sent",queue="calc"} 1
jsonrpc2_client_requests_ended_total{outcome="timeout",queue="calc"} 0
jsonrpc2_client_requests_ended_total{outcome="unconfirmed",queue="calc"} 0
jsonrpc2_client_requests_ended_total{outcome="unsent",queue="calc"} 0
# HELP jsonrpc2_client_requests_in_flight Calls and notifications that have begun and not ended.
# TYPE jsonrpc2_client_requests_in_flight gauge
jsonrpc2_client_requests_in_flight{queue="calc"} 1
`), "jsonrpc2_client_discarded_total", "jsonrpc2_client_requests_begun_total", clientEnded, "jsonrpc2_client_requests_in_flight"))

	require.NoError(t, testutil.CollectAndCompare(p.server, strings.NewReader(`
# HELP jsonrpc2_server_discarded_total What arrived and was no call and no notification.
# TYPE jsonrpc2_server_discarded_total counter
jsonrpc2_server_discarded_total{queue="calc",reason="dropped"} 0
jsonrpc2_server_discarded_total{queue="calc",reason="invalid"} 0
# HELP jsonrpc2_server_lost_replies_total Answers that could not be delivered, and requests that could not be given back.
# TYPE jsonrpc2_server_lost_replies_total counter
jsonrpc2_server_lost_replies_total{queue="calc"} 0
# HELP jsonrpc2_server_places How many calls and notifications may run at once.
# TYPE jsonrpc2_server_places gauge
jsonrpc2_server_places{queue="calc"} 256
# HELP jsonrpc2_server_requests_begun_total Calls and notifications that were read.
# TYPE jsonrpc2_server_requests_begun_total counter
jsonrpc2_server_requests_begun_total{kind="call",queue="calc"} 5
jsonrpc2_server_requests_begun_total{kind="notification",queue="calc"} 1
# HELP jsonrpc2_server_requests_ended_total Calls and notifications that have ended, by how they have.
# TYPE jsonrpc2_server_requests_ended_total counter
jsonrpc2_server_requests_ended_total{outcome="answered",queue="calc"} 3
jsonrpc2_server_requests_ended_total{outcome="done",queue="calc"} 1
jsonrpc2_server_requests_ended_total{outcome="error",queue="calc"} 1
jsonrpc2_server_requests_ended_total{outcome="expired",queue="calc"} 0
# HELP jsonrpc2_server_requests_in_flight Calls and notifications that run.
# TYPE jsonrpc2_server_requests_in_flight gauge
jsonrpc2_server_requests_in_flight{queue="calc"} 1
# HELP jsonrpc2_server_running_requests Calls and notifications that run, by method.
# TYPE jsonrpc2_server_running_requests gauge
jsonrpc2_server_running_requests{method="Slow.Wait",queue="calc"} 1
`), "jsonrpc2_server_discarded_total", "jsonrpc2_server_lost_replies_total", "jsonrpc2_server_places", "jsonrpc2_server_requests_begun_total",
		"jsonrpc2_server_requests_ended_total", "jsonrpc2_server_requests_in_flight", "jsonrpc2_server_running_requests"))
	since := samples(t, p.server, "jsonrpc2_server_running_since_timestamp_seconds", "method")["Slow.Wait"]
	require.InDelta(t, float64(time.Now().Unix()), since, servicetest.Soon.Seconds())

	p.slow.Open()
	require.NoError(t, (<-pending.Done).Error)
	require.Equal(t, map[string]float64{"answered": 4, "error": 1, "sent": 1}, samples(t, p.client, clientDuration, "outcome"))
	// Params that don't fit are refused before Begin.
	require.Equal(t, map[string]float64{"answered": 4, "done": 1}, samples(t, p.server, serverDuration, "outcome"))
	require.Equal(t, map[string]float64{"Calc.Add": 4, "Slow.Wait": 1}, samples(t, p.server, serverDuration, "method"))
}

// Both ends follow the naming rules of Prometheus, and register for several queues.
func TestRegister(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	for _, queue := range []string{"calc", "mail"} {
		p := newPair(t, queue, nil, jsonrpc2.ClientOptions{})
		servicetest.RequireAdds(t, p.rpc)
		require.NoError(t, registry.Register(p.client))
		require.NoError(t, registry.Register(p.server))
		require.Error(t, registry.Register(promrpc.NewClientMetrics(queue, nil)))
	}
	problems, err := testutil.GatherAndLint(registry)
	require.NoError(t, err)
	require.Empty(t, problems)
}

// The counts are those of the codec's snapshot, all of them: the names are checked above.
func TestCollectMissesNoCount(t *testing.T) {
	t.Parallel()
	require.Equal(t, fields[jsonrpc2.ClientCounts](), testutil.CollectAndCount(promrpc.NewClientMetrics("calc", nil)))
	const places = 1
	require.Equal(t, fields[jsonrpc2.ServerCounts]()+places, testutil.CollectAndCount(promrpc.NewServerMetrics("calc", nil)))
}

// The equation of the counts holds in each scrape, whatever goes on.
func TestScrapesAddUp(t *testing.T) {
	t.Parallel()
	p := newPair(t, "calc", nil, jsonrpc2.ClientOptions{})
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for ctx.Err() == nil {
				_, _ = servicetest.Add(p.rpc, 1, 2)
				_ = jsonrpc2.Notify(ctx, p.rpc, "Calc.Add", calc.Args{})
			}
		})
	}
	for range 100 {
		for end, c := range map[string]prometheus.Collector{"client": p.client, "server": p.server} {
			requireAddsUp(t, end, c)
		}
	}
	stop()
	callers.Wait()
}

func requireAddsUp(t *testing.T, end string, c prometheus.Collector) {
	registry := prometheus.NewRegistry()
	require.NoError(t, registry.Register(c))
	families, err := registry.Gather()
	require.NoError(t, err)
	sums := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			sums[family.GetName()] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	prefix := "jsonrpc2_" + end + "_requests_"
	require.Equal(t, sums[prefix+"begun_total"], sums[prefix+"ended_total"]+sums[prefix+"in_flight"])
}
