package promrpc_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/promrpc"
)

// A program serves Calc over a pipe, calls it, and shows its metrics on a page.
func Example() {
	client := promrpc.NewClientMetrics("calc", nil)
	server := promrpc.NewServerMetrics("calc", &promrpc.Options{MaxInFlight: 64})
	registry := prometheus.NewRegistry()
	registry.MustRegister(client, server)
	page := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer page.Close()

	services := rpc.NewServer()
	if err := services.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	ctx := context.Background()
	there, here := net.Pipe()
	go jsonrpc2.Serve(ctx, services, jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{
		MaxInFlight: 64, Stats: &server.Stats, Begin: server.Begin,
	})
	caller := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), &jsonrpc2.ClientOptions{
		Stats: &client.Stats, Begin: client.Begin,
	})
	defer caller.Close()
	sum, err := jsonrpc2.Call[float64](ctx, caller, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)

	for _, line := range scrape(page.URL) {
		if strings.Contains(line, "ended_total{") && !strings.HasSuffix(line, " 0") || strings.Contains(line, "_count{") {
			fmt.Println(line)
		}
	}
	// Output:
	// 6.1 <nil>
	// jsonrpc2_client_request_duration_seconds_count{method="Calc.Add",outcome="answered",queue="calc"} 1
	// jsonrpc2_client_requests_ended_total{outcome="answered",queue="calc"} 1
	// jsonrpc2_server_request_duration_seconds_count{method="Calc.Add",outcome="answered",queue="calc"} 1
	// jsonrpc2_server_requests_ended_total{outcome="answered",queue="calc"} 1
}

// scrape returns the lines of a page.
func scrape(url string) []string {
	response, err := http.Get(url)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	return strings.Split(string(text), "\n")
}

// The names of what an HTTP server counts.
func ExampleNewServerConnCollector() {
	handler, err := httpconn.Listen(nil)
	if err != nil {
		panic(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(promrpc.NewServerConnCollector("http", "calc", handler.Stats))
	families, err := registry.Gather()
	for _, family := range families {
		fmt.Println(family.GetName())
	}
	fmt.Println(err)
	// Output:
	// jsonrpc2_conn_server_busy_total
	// jsonrpc2_conn_server_bytes
	// jsonrpc2_conn_server_gone_total
	// jsonrpc2_conn_server_in_flight
	// jsonrpc2_conn_server_late_total
	// jsonrpc2_conn_server_refused_total
	// jsonrpc2_conn_server_replies_total
	// jsonrpc2_conn_server_requests_total
	// jsonrpc2_conn_server_too_large_total
	// <nil>
}
