package otelrpc_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/otelrpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(brokertest.Main(m)) }

// A telemetry keeps the spans and the measurements of a test.
type telemetry struct {
	spans  *tracetest.SpanRecorder
	tracer *trace.TracerProvider
	reader *metric.ManualReader
	meter  *metric.MeterProvider
}

func newTelemetry() *telemetry {
	spans, reader := tracetest.NewSpanRecorder(), metric.NewManualReader()
	return &telemetry{
		spans:  spans,
		tracer: trace.NewTracerProvider(trace.WithSpanProcessor(spans)),
		reader: reader,
		meter:  metric.NewMeterProvider(metric.WithReader(reader)),
	}
}

// options returns options of one end.
func (m *telemetry) options() *otelrpc.Options {
	return &otelrpc.Options{TracerProvider: m.tracer, MeterProvider: m.meter}
}

// start starts a span that calls may be made in.
func (m *telemetry) start() (ctx context.Context, end func()) {
	ctx, span := m.tracer.Tracer("test").Start(context.Background(), "test")
	return ctx, func() { span.End() }
}

// ended requires that so many spans have ended, and returns them. Those of a call have ended
// when it returns.
func (m *telemetry) ended(t *testing.T, n int) []trace.ReadOnlySpan {
	t.Helper()
	spans := m.spans.Ended()
	require.Len(t, spans, n)
	return spans
}

// lines returns the spans that have ended, in the order of their text: kind, name,
// attributes but those that all have, and status.
func (m *telemetry) lines() (lines []string) {
	for _, span := range m.spans.Ended() {
		line := span.SpanKind().String() + " " + span.Name() + attributesText(span.Attributes())
		if status := span.Status(); status.Code != codes.Unset {
			line += fmt.Sprintf(" %v: %s", status.Code, status.Description)
		}
		lines = append(lines, line)
	}
	slices.Sort(lines)
	return lines
}

// measured returns what was measured, in the order of its text: kind, method, attributes
// but those that all have, and how often.
func (m *telemetry) measured(t *testing.T) (lines []string) {
	t.Helper()
	for _, h := range m.histograms(t) {
		for _, point := range h.Data.(metricdata.Histogram[float64]).DataPoints {
			kind := strings.TrimSuffix(strings.TrimPrefix(h.Name, "rpc."), ".call.duration")
			method, _ := point.Attributes.Value("rpc.method")
			lines = append(lines, fmt.Sprintf("%s %s%s: %d", kind, method.AsString(), attributesText(point.Attributes.ToSlice()), point.Count))
		}
	}
	slices.Sort(lines)
	return lines
}

func (m *telemetry) histograms(t *testing.T) (all []metricdata.Metrics) {
	t.Helper()
	var data metricdata.ResourceMetrics
	require.NoError(t, m.reader.Collect(context.Background(), &data))
	for _, scope := range data.ScopeMetrics {
		all = append(all, scope.Metrics...)
	}
	return all
}

// attributesText returns attributes as text, without what all calls have.
func attributesText(attributes []attribute.KeyValue) string {
	var words []string
	for _, a := range attributes {
		switch a.Key {
		case "rpc.system.name", "rpc.method", "jsonrpc.protocol.version", "jsonrpc.request.id", "network.peer.address":
		default:
			words = append(words, fmt.Sprintf(" %s=%s", a.Key, a.Value.String()))
		}
	}
	slices.Sort(words)
	return strings.Join(words, "")
}
