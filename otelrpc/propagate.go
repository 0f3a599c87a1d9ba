package otelrpc

import (
	"context"
	"slices"
	"unicode/utf8"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/micromessaging/jsonrpc2"
)

// inject returns a context that sends the trace in it as metadata, beside what had is sent
// anyway.
func (i *instrument) inject(ctx context.Context, had jsonrpc2.Meta) context.Context {
	c := &carrier{had: had}
	i.propagator.Inject(ctx, c)
	if len(c.added) == 0 {
		return ctx
	}
	return jsonrpc2.WithMeta(ctx, c.added)
}

// extract returns the context of a server's span, and the options to start it with.
//
// The span's parent is what the metadata says. But if ctx has a span of the same trace
// already, as that of the HTTP request, this is nearer. A span of another trace is linked.
func (i *instrument) extract(ctx context.Context, meta jsonrpc2.Meta, start []trace.SpanStartOption) (context.Context, []trace.SpanStartOption) {
	if len(meta) == 0 {
		return ctx, start
	}
	outer := trace.SpanFromContext(ctx)
	ctx = i.propagator.Extract(ctx, propagation.MapCarrier(meta))
	near, remote := outer.SpanContext(), trace.SpanContextFromContext(ctx)
	switch {
	case !near.IsValid():
	case near.TraceID() == remote.TraceID():
		ctx = trace.ContextWithSpan(ctx, outer)
	default:
		start = append(slices.Clip(start), trace.WithLinks(trace.Link{SpanContext: near}))
	}
	return ctx, start
}

// maxMeta is how many bytes of JSON the metadata of a call may be.
const maxMeta = 8 << 10

// A carrier takes what a propagator injects, as long as there is room for it: a trace, or
// the baggage of a stranger, must not make a call fail that is fine without it.
type carrier struct {
	had   jsonrpc2.Meta // the caller's
	added jsonrpc2.Meta // nil for nothing
	room  int           // for more, if added is not nil
}

// Get implements propagation.TextMapCarrier.
func (c *carrier) Get(key string) string { return c.added[key] }

// Set implements propagation.TextMapCarrier.
func (c *carrier) Set(key, value string) {
	if c.added == nil {
		c.added = make(jsonrpc2.Meta, 3) // traceparent, tracestate, baggage
		c.room = maxMeta - len("{")      // the last entry has a } in place of its comma
		for key, value := range c.had {
			c.room -= entryLen(key, value)
		}
	}
	if n := entryLen(key, value); n <= c.room {
		c.room -= n
		c.added[key] = value
	}
}

// Keys implements propagation.TextMapCarrier.
func (c *carrier) Keys() []string {
	keys := make([]string, 0, len(c.added))
	for key := range c.added {
		keys = append(keys, key)
	}
	return keys
}

// entryLen returns how long an entry of metadata is as JSON, at most.
func entryLen(key, value string) int { return len(`"":"",`) + jsonLen(key) + jsonLen(value) }

func jsonLen(text string) int {
	n := len(text)
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ' || c >= utf8.RuneSelf, c == '"', c == '\\', c == '<', c == '>', c == '&':
			n += len(`\u0000`) - 1
		}
	}
	return n
}
