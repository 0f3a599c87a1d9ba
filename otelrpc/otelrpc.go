package otelrpc

import (
	"context"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/rpcconv"
	"go.opentelemetry.io/otel/trace"

	"github.com/micromessaging/jsonrpc2"
)

// Options are the options of [Client] and [Server]. The zero value is useful, and so is a
// nil pointer to it.
type Options struct {
	// TracerProvider makes the spans; otel's global one if nil.
	TracerProvider trace.TracerProvider

	// MeterProvider makes the histogram; otel's global one if nil.
	MeterProvider metric.MeterProvider

	// Propagator writes the trace into the metadata of calls, and reads it there. If nil,
	// it is otel's global one. If none is set when Client or Server is called, it is W3C
	// Trace Context with Baggage.
	//
	// A server that doesn't trust its callers can ignore their traces and their baggage:
	// propagation.NewCompositeTextMapPropagator(), without arguments, does nothing.
	Propagator propagation.TextMapPropagator

	// System is the broker that the calls go through, such as "redis" or "rabbitmq"; ""
	// for none. It is the attribute messaging.system.
	System string

	// Destination is the queue, the attribute messaging.destination.name; "" for none.
	Destination string

	// Attributes are more attributes of all spans and measurements, such as
	// semconv.ServerAddress.
	Attributes []attribute.KeyValue
}

// Client returns a BeginFunc for the Begin of [jsonrpc2.ClientOptions]. It makes a span and
// a measurement of each call, and sends the trace with it. It is for one client or several.
func Client(opts *Options) jsonrpc2.BeginFunc {
	return newInstrument(opts, trace.SpanKindClient).beginClient
}

// Server returns a BeginFunc for the Begin of [jsonrpc2.ServerOptions]. It makes a span and
// a measurement of each call, as a part of the caller's trace. The method's
// [jsonrpc2.Context] has the span. It is for one server or several.
func Server(opts *Options) jsonrpc2.BeginFunc {
	return newInstrument(opts, trace.SpanKindServer).beginServer
}

// scope is what otel calls the instrumentation scope.
const scope = "github.com/micromessaging/jsonrpc2/otelrpc"

// An instrument makes the spans and measurements of one end.
type instrument struct {
	kind       trace.SpanKind
	tracer     trace.Tracer
	duration   metric.Float64Histogram
	propagator propagation.TextMapPropagator
	methods    *methods
}

func newInstrument(opts *Options, kind trace.SpanKind) *instrument {
	if opts == nil {
		opts = &Options{}
	}
	i := &instrument{kind: kind, propagator: opts.Propagator, methods: newMethods(kind, opts)}
	tracers, meters := opts.TracerProvider, opts.MeterProvider
	if tracers == nil {
		tracers = otel.GetTracerProvider()
	}
	if meters == nil {
		meters = otel.GetMeterProvider()
	}
	if i.propagator == nil {
		i.propagator = defaultPropagator()
	}
	i.tracer = tracers.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	i.duration = newDuration(meters.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL)), kind)
	return i
}

func defaultPropagator() propagation.TextMapPropagator {
	if global := otel.GetTextMapPropagator(); len(global.Fields()) > 0 {
		return global
	}
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// newDuration returns the histogram of an end. otel is told if there can be none: that is
// no reason to make no calls.
func newDuration(meter metric.Meter, kind trace.SpanKind) metric.Float64Histogram {
	if kind == trace.SpanKindClient {
		h, err := rpcconv.NewClientCallDuration(meter)
		handle(err)
		return h.Inst()
	}
	h, err := rpcconv.NewServerCallDuration(meter)
	handle(err)
	return h.Inst()
}

func handle(err error) {
	if err != nil {
		otel.Handle(err)
	}
}

func (i *instrument) beginClient(ctx context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
	m := i.methods.get(call.Method)
	ctx, end := i.begin(ctx, call, m, m.start)
	return i.inject(ctx, call.Meta), end, nil
}

func (i *instrument) beginServer(ctx context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
	m := i.methods.get(call.Method)
	ctx, start := i.extract(ctx, call.Meta, m.start)
	ctx, end := i.begin(ctx, call, m, start)
	return ctx, end, nil
}

// begin starts a span. It returns a context with it, and the function that ends it: nil if
// nobody records anything.
func (i *instrument) begin(ctx context.Context, call *jsonrpc2.CallInfo, m *method, start []trace.SpanStartOption) (context.Context, func(error)) {
	ctx, span := i.tracer.Start(ctx, call.Method, start...)
	recording := span.IsRecording()
	if recording {
		span.SetAttributes(ownAttributes(call)...)
	} else if !i.duration.Enabled(ctx) {
		return ctx, nil
	}
	begun := time.Now()
	return ctx, func(err error) {
		f := i.failureOf(err)
		i.duration.Record(ctx, time.Since(begun).Seconds(), m.durations.options(f.key)...)
		if recording && err != nil {
			span.SetAttributes(f.key.attributes()...)
			span.SetStatus(codes.Error, clip(f.text))
		}
		span.End()
	}
}
