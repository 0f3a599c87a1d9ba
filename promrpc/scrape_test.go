package promrpc_test

import (
	"net/http/httptest"
	"net/rpc"
	"os/exec"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/promrpc"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A Prometheus scrapes a program with both ends, and answers what an operator asks.
func TestPrometheus(t *testing.T) {
	t.Parallel()
	p := newPair(t, "calc", &promrpc.Options{MaxInFlight: 256}, jsonrpc2.ClientOptions{})
	registry := prometheus.NewRegistry()
	registry.MustRegister(p.client, p.server, promrpc.NewClientConnCollector("redis", "calc", always(redisconn.ClientStats{Reconnects: 3})))
	target := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{Registry: registry}))
	t.Cleanup(target.Close)
	prom := startPrometheus(t, strings.TrimPrefix(target.URL, "http://"))
	prom.requireSoon(t, `up`, "1")
	servicetest.RequireAdds(t, p.rpc)
	prom.requireSoon(t, `jsonrpc2_client_request_duration_seconds_count`, "1") // a rate needs two values

	servicetest.RequireManyAdds(t, p.rpc, 8, 25)
	_, err := jsonrpc2.Call[float64](t.Context(), p.rpc, "Calc.Multiply", calc.Args{})
	servicetest.RequireCode(t, jsonrpc2.CodeMethodNotFound, err)
	require.NoError(t, jsonrpc2.Notify(t.Context(), p.rpc, "Calc.Add", calc.Args{}))
	running := make(chan *rpc.Call, 2)
	for range 2 {
		p.rpc.Go("Slow.Wait", 1, new(int), running)
	}
	p.slow.RequireRunning(t, 2)

	for expr, want := range map[string][]string{
		`jsonrpc2_client_requests_ended_total{outcome="answered"}`:                                                    {"201"},
		`jsonrpc2_client_requests_ended_total{outcome="error"}`:                                                       {"1"},
		`jsonrpc2_client_requests_begun_total{kind="notification"}`:                                                   {"1"},
		`sum(jsonrpc2_client_requests_begun_total) by (queue)`:                                                        {"205"},
		`jsonrpc2_client_requests_in_flight`:                                                                          {"2"},
		`jsonrpc2_server_requests_in_flight / jsonrpc2_server_places`:                                                 {"0.0078125"},
		`jsonrpc2_server_running_requests{method="Slow.Wait"}`:                                                        {"2"},
		`time() - jsonrpc2_server_running_since_timestamp_seconds{method="Slow.Wait"} < bool 60`:                      {"1"},
		`jsonrpc2_conn_client_reconnects_total{transport="redis"}`:                                                    {"3"},
		`sum by (queue) (increase(jsonrpc2_server_requests_ended_total{outcome="answered"}[1m])) > bool 0`:            {"1"},
		`sum by (queue) (rate(jsonrpc2_client_requests_ended_total[1m])) > bool 0`:                                    {"1"},
		`sum by (method) (jsonrpc2_server_request_duration_seconds_count{method="Calc.Add"})`:                         {"202"},
		`histogram_quantile(0.99, sum by (le) (rate(jsonrpc2_client_request_duration_seconds_bucket[1m]))) < bool 60`: {"1"},
	} {
		prom.requireSoon(t, expr, want...)
	}

	p.slow.Open()
	for range 2 {
		require.NoError(t, (<-running).Error)
	}
	prom.requireSoon(t, `sum(jsonrpc2_client_requests_in_flight) + sum(jsonrpc2_server_requests_in_flight)`, "0")
	prom.requireSoon(t, `jsonrpc2_server_running_requests`)
	// Each scrape of this time adds up, for both ends.
	for _, end := range []string{"client", "server"} {
		equation := `sum(jsonrpc2_END_requests_begun_total) - sum(jsonrpc2_END_requests_ended_total) - sum(jsonrpc2_END_requests_in_flight)`
		prom.requireSoon(t, `max_over_time((abs(`+strings.ReplaceAll(equation, "END", end)+`))[1m:200ms])`, "0")
	}
	prom.requireHealthyRules(t)
}

// The alerts are well formed, and fire when they should.
func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool := find(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "alerts.yml"},
		{"test", "rules", "testdata/alerts_test.yml"},
	} {
		output, err := exec.Command(promtool, args...).CombinedOutput()
		require.NoError(t, err, "%s", output)
	}
}
