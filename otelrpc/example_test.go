package otelrpc_test

import (
	"context"
	"fmt"
	"net"
	"net/rpc"

	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/otelrpc"
)

// A client and a server whose spans make one trace.
func Example() {
	spans := tracetest.NewInMemoryExporter()
	tracer := trace.NewTracerProvider(trace.WithSyncer(spans))
	opts := &otelrpc.Options{TracerProvider: tracer}

	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	there, here := net.Pipe()
	served := make(chan error)
	go func() {
		served <- jsonrpc2.Serve(context.Background(), server, jsonrpc2.NewStreamConn(there),
			&jsonrpc2.ServerOptions{Begin: otelrpc.Server(opts)})
	}()
	client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), &jsonrpc2.ClientOptions{Begin: otelrpc.Client(opts)})

	ctx, span := tracer.Tracer("example").Start(context.Background(), "sum up")
	sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)
	span.End()
	client.Close()
	fmt.Println(<-served)

	names := make(map[string]string) // of spans, by their ids
	for _, s := range spans.GetSpans() {
		names[s.SpanContext.SpanID().String()] = s.SpanKind.String() + " " + s.Name
	}
	for _, s := range spans.GetSpans() {
		fmt.Printf("%s %s, under %q\n", s.SpanKind, s.Name, names[s.Parent.SpanID().String()])
	}
	// Unordered output:
	// 6.1 <nil>
	// <nil>
	// server Calc.Add, under "client Calc.Add"
	// client Calc.Add, under "internal sum up"
	// internal sum up, under ""
}
