package otelrpc_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/baggage"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/otelrpc"
)

// parent is the caller's span in metadata.
const (
	parentTrace = "0102030405060708090a0b0c0d0e0f10"
	parentSpan  = "0102030405060708"
	parent      = "00-" + parentTrace + "-" + parentSpan + "-01"
)

// sent returns the metadata with which a call arrives.
func sent(ctx context.Context, t *testing.T, begin jsonrpc2.BeginFunc) jsonrpc2.Meta {
	t.Helper()
	calling, listening := openStream(t, "")
	servicetest.Serve(t, listening, jsonrpc2.ServerOptions{Logger: servicetest.Quiet}, Inventory{})
	client := jsonrpc2.NewClient(calling, &jsonrpc2.ClientOptions{Begin: begin, Logger: servicetest.Quiet})
	defer client.Close()
	meta, err := jsonrpc2.Call[jsonrpc2.Meta](ctx, client, "Inventory.Take", ItemArgs{})
	require.NoError(t, err)
	return meta
}

// With providers that record nothing, a trace goes on all the same.
func TestNothingRecorded(t *testing.T) {
	t.Parallel()
	opts := &otelrpc.Options{TracerProvider: noop.NewTracerProvider(), MeterProvider: metricnoop.NewMeterProvider()}
	ctx, end, err := otelrpc.Server(opts)(t.Context(), &jsonrpc2.CallInfo{Meta: jsonrpc2.Meta{"traceparent": parent, "token": "secret"}}, nil)
	require.NoError(t, err)
	require.Nil(t, end)
	require.Equal(t, jsonrpc2.Meta{"traceparent": parent}, sent(ctx, t, otelrpc.Client(opts)))
	require.Empty(t, sent(t.Context(), t, otelrpc.Client(opts)))
}

// What there is no room for is not sent. A stranger's baggage, which comes in a header of
// up to 8 KiB, must not make the calls fail that a method makes.
func TestRoom(t *testing.T) {
	t.Parallel()
	const empty = len(`{"k":""}`)
	const traceparent = len(`,"traceparent":""`) + len(parent)
	for name, test := range map[string]struct {
		had     string // of the caller
		baggage string
		want    []string
	}{
		"all fits":           {"x", "a=b", []string{"k", "traceparent", "baggage"}},
		"long baggage":       {"x", "a=" + strings.Repeat("b", 8000), []string{"k", "traceparent", "baggage"}},
		"too long":           {"x", "a=" + strings.Repeat("b", 8150), []string{"k", "traceparent"}},
		"too long as JSON":   {"x", "a=" + strings.Repeat("&", 2000), []string{"k", "traceparent"}},
		"room for the trace": {strings.Repeat("x", 8<<10-empty-traceparent), "a=b", []string{"k", "traceparent"}},
		"no room":            {strings.Repeat("x", 8<<10-empty-traceparent+1), "", []string{"k"}},
		"none at all":        {strings.Repeat("x", 8<<10-empty), "", []string{"k"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := jsonrpc2.WithMeta(t.Context(), jsonrpc2.Meta{"k": test.had})
			ctx = baggage.ContextWithBaggage(ctx, servicetest.Must(baggage.Parse(test.baggage)))
			meta := sent(ctx, t, otelrpc.Client(newTelemetry().options()))
			require.ElementsMatch(t, test.want, slices.Collect(maps.Keys(meta)))
			require.Len(t, meta["k"], len(test.had))
		})
	}
}

// startIn returns a context with a span of a trace; ctx if that is "".
func (m *telemetry) startIn(ctx context.Context, traceID string) context.Context {
	if traceID == "" {
		return ctx
	}
	meta := propagation.MapCarrier{"traceparent": "00-" + traceID + "-0101010101010101-01"}
	ctx, _ = m.tracer.Tracer("test").Start(propagation.TraceContext{}.Extract(ctx, meta), "outer")
	return ctx
}

// A server's span is a child of the caller's, or of the nearer span of the same trace that
// its context has. A span of another trace, such as that of an HTTP request that carries a
// batch, is linked.
func TestParent(t *testing.T) {
	t.Parallel()
	remote := jsonrpc2.Meta{"traceparent": parent}
	for name, test := range map[string]struct {
		outer string // the trace of the span in ctx
		meta  jsonrpc2.Meta
		trace string
		near  bool // the span in ctx is the parent
		links int
	}{
		"nothing":             {"", nil, "", false, 0},
		"the caller's":        {"", remote, parentTrace, false, 0},
		"malformed":           {"", jsonrpc2.Meta{"traceparent": "00-7"}, "", false, 0},
		"a near one":          {parentTrace[:30] + "77", nil, parentTrace[:30] + "77", true, 0},
		"both, of one trace":  {parentTrace, remote, parentTrace, true, 0},
		"both, of two traces": {parentTrace[:30] + "77", remote, parentTrace, false, 1},
		"near, and malformed": {parentTrace, jsonrpc2.Meta{"traceparent": "00-7"}, parentTrace, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTelemetry()
			ctx := m.startIn(t.Context(), test.outer)
			near := trace.SpanContextFromContext(ctx)
			_, end, err := otelrpc.Server(m.options())(ctx, &jsonrpc2.CallInfo{Method: "A.B", Meta: test.meta}, nil)
			require.NoError(t, err)
			end(nil)
			span := m.ended(t, 1)[0]
			switch {
			case test.near:
				require.Equal(t, near.SpanID(), span.Parent().SpanID())
			case test.trace != "":
				require.Equal(t, parentSpan, span.Parent().SpanID().String())
			default:
				require.False(t, span.Parent().IsValid())
			}
			if test.trace != "" {
				require.Equal(t, test.trace, span.SpanContext().TraceID().String())
			}
			require.Len(t, span.Links(), test.links)
			for _, link := range span.Links() {
				require.Equal(t, near, link.SpanContext)
			}
		})
	}
}

// The trace in a foreign client's HTTP headers goes on.
func TestForeignClient(t *testing.T) {
	t.Parallel()
	m := newTelemetry()
	handler := servicetest.Must(httpconn.Listen(nil))
	servicetest.Serve(t, handler, jsonrpc2.ServerOptions{Begin: otelrpc.Server(m.options())}, Inventory{})
	post := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"Inventory.Take"}`))
	post.Header.Set("Traceparent", parent)
	handler.ServeHTTP(httptest.NewRecorder(), post)
	require.Equal(t, parentSpan, m.ended(t, 1)[0].Parent().SpanID().String())
}

// A server that doesn't trust its callers begins its own traces, without their baggage.
func TestIgnoredTrace(t *testing.T) {
	t.Parallel()
	m := newTelemetry()
	opts := m.options()
	opts.Propagator = propagation.NewCompositeTextMapPropagator()
	ctx := run(t, otelrpc.Server(opts), &jsonrpc2.CallInfo{Method: "A.B", Meta: jsonrpc2.Meta{"traceparent": parent, "baggage": "a=b"}}, nil)
	require.False(t, m.ended(t, 1)[0].Parent().IsValid())
	require.Zero(t, baggage.FromContext(ctx).Len())
}

// A noting propagator knows whether it was used.
type noting struct {
	propagation.TextMapPropagator
	used atomic.Bool
}

func (n *noting) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	n.used.Store(true)
	n.TextMapPropagator.Inject(ctx, carrier)
}

// otel's global propagator takes the place of the default, where one is set. That can't
// be undone: so this test looks at the default before, and runs beside no other.
func TestGlobalPropagator(t *testing.T) {
	require.Contains(t, sent(t.Context(), t, otelrpc.Client(newTelemetry().options())), "traceparent")
	before := otel.GetTextMapPropagator()
	t.Cleanup(func() { otel.SetTextMapPropagator(before) })
	global := &noting{TextMapPropagator: propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})}
	otel.SetTextMapPropagator(global)
	require.Contains(t, sent(t.Context(), t, otelrpc.Client(newTelemetry().options())), "traceparent")
	require.True(t, global.used.Load())
}
