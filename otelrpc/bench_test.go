package otelrpc_test

import (
	"testing"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/sdk/metric"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/otelrpc"
)

// providers are what a program may have set.
func providers() map[string]*otelrpc.Options {
	meter := metric.NewMeterProvider(metric.WithReader(metric.NewManualReader()))
	return map[string]*otelrpc.Options{
		"noop":      {TracerProvider: noop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider()},
		"unsampled": {TracerProvider: sdk.NewTracerProvider(sdk.WithSampler(sdk.NeverSample())), MeterProvider: meter},
		"sdk":       {TracerProvider: sdk.NewTracerProvider(sdk.WithSyncer(tracetest.NewNoopExporter())), MeterProvider: meter},
	}
}

// BenchmarkClient begins and ends calls, whose trace is put into their metadata.
func BenchmarkClient(b *testing.B) {
	benchmark(b, otelrpc.Client, &jsonrpc2.CallInfo{Method: "Calc.Add", ID: `"0123456789abcdef-7"`})
}

// BenchmarkServer begins and ends calls of a trace.
func BenchmarkServer(b *testing.B) {
	benchmark(b, otelrpc.Server, &jsonrpc2.CallInfo{
		Method: "Calc.Add",
		ID:     `"0123456789abcdef-7"`,
		Meta:   jsonrpc2.Meta{"traceparent": parent},
		Peer:   jsonrpc2.Peer{Addr: "10.0.0.7:41512"},
	})
}

func benchmark(b *testing.B, end func(*otelrpc.Options) jsonrpc2.BeginFunc, call *jsonrpc2.CallInfo) {
	for name, opts := range providers() {
		b.Run(name, func(b *testing.B) {
			begin := end(opts)
			b.ReportAllocs()
			for b.Loop() {
				_, ended, err := begin(b.Context(), call, nil)
				if err != nil {
					b.Fatal(err)
				}
				if ended != nil {
					ended(nil)
				}
			}
		})
	}
}
