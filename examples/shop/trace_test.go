package main

import (
	"encoding/json"
	"strings"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/trace"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// customerSpan is the id of the customer's span, which the spans of all his orders are under.
const customerSpan = "00000000000000a1"

// A span is one as the processes print it.
type span struct {
	Name        string
	SpanKind    trace.SpanKind
	SpanContext struct{ TraceID, SpanID string }
	Parent      struct{ SpanID string }
	Resource    []struct{ Value struct{ Value string } } // the service's name alone
}

// printed returns the spans that the processes have printed, as JSON.
func (s *site) printed() (spans []string) {
	for _, line := range s.lines() {
		if strings.HasPrefix(line, "{") {
			spans = append(spans, line)
		}
	}
	return spans
}

// traces returns the spans by trace and by id.
func (s *site) traces() map[string]map[string]span {
	s.t.Helper()
	traces := make(map[string]map[string]span)
	for _, line := range s.printed() {
		var each span
		require.NoError(s.t, json.Unmarshal([]byte(line), &each), line)
		id := each.SpanContext.TraceID
		if traces[id] == nil {
			traces[id] = make(map[string]span)
		}
		traces[id][each.SpanContext.SpanID] = each
	}
	return traces
}

// wayOf returns a span of a trace and those above it, the uppermost first.
func wayOf(spans map[string]span, id string) string {
	each, ok := spans[id]
	if !ok {
		return id
	}
	return wayOf(spans, each.Parent.SpanID) + " > " + each.Resource[0].Value.Value + " " + each.SpanKind.String() + " " + each.Name
}

// requireTraces requires that each order is one trace over all processes, and that no other
// is printed.
func (s *site) requireTraces(ids []string) {
	s.t.Helper()
	const (
		placing   = customerSpan + " > shop-web server POST /orders > shop-web client Orders.Place > shop-worker server Orders.Place"
		reserving = placing + " > shop-worker client Inventory.Reserve > shop-worker server Inventory.Reserve"
		recording = placing + " > shop-worker client Audit.Record > shop-worker server Audit.Record"
		spans     = 7 // on both ways
	)
	require.NotEmpty(s.t, ids)
	servicetest.EventuallyEqual(s.t, spans*len(ids), func() int { return len(s.printed()) })
	traces := s.traces()
	for _, id := range ids {
		require.Len(s.t, traces[id], spans)
		var ways []string
		for span := range traces[id] {
			ways = append(ways, wayOf(traces[id], span))
		}
		require.Contains(s.t, ways, reserving)
		require.Contains(s.t, ways, recording)
	}
}
