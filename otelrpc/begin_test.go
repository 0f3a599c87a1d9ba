package otelrpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/otelrpc"
)

// run begins and ends a call, and returns the context that Begin has returned.
func run(t *testing.T, begin jsonrpc2.BeginFunc, call *jsonrpc2.CallInfo, outcome error) context.Context {
	t.Helper()
	ctx, end, err := begin(t.Context(), call, nil)
	require.NoError(t, err)
	end(outcome)
	return ctx
}

// An error of the way has the name of its sentinel as error.type.
func TestErrorTypes(t *testing.T) {
	t.Parallel()
	for want, err := range map[string]error{
		"timeout":         fmt.Errorf("%w: %w: %w", jsonrpc2.ErrTimeout, context.DeadlineExceeded, jsonrpc2.ErrNotRun),
		"unavailable":     fmt.Errorf("%w: %w", jsonrpc2.ErrUnavailable, context.Canceled),
		"no_server":       jsonrpc2.ErrNoServer,
		"overloaded":      jsonrpc2.ErrOverloaded,
		"too_large":       jsonrpc2.ErrTooLarge,
		"reply_lost":      fmt.Errorf("%w: %w", jsonrpc2.ErrReplyLost, context.Canceled),
		"bad_reply":       jsonrpc2.ErrBadReply,
		"reply_too_large": jsonrpc2.ErrReplyTooLarge,
		"canceled":        fmt.Errorf("%w: %w", jsonrpc2.ErrUnconfirmed, context.Canceled),
		"unconfirmed":     jsonrpc2.ErrUnconfirmed,
		"_OTHER":          errors.New("another"),
	} {
		m := newTelemetry()
		run(t, otelrpc.Client(m.options()), &jsonrpc2.CallInfo{Method: "A.B"}, err)
		require.Equal(t, []string{"client A.B error.type=" + want + " Error: " + err.Error()}, m.lines())
		require.Equal(t, []string{"client A.B error.type=" + want + ": 1"}, m.measured(t))
	}
}

// A span has what its call alone has: texts of strangers are clipped, and are valid UTF-8,
// since exporters drop all spans for one that isn't.
func TestOwnAttributes(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 1000)
	for name, test := range map[string]struct {
		call jsonrpc2.CallInfo
		want map[attribute.Key]string
	}{
		"a text":     {jsonrpc2.CallInfo{ID: `"x-1"`}, map[attribute.Key]string{"jsonrpc.request.id": "x-1"}},
		"a number":   {jsonrpc2.CallInfo{ID: `7`}, map[attribute.Key]string{"jsonrpc.request.id": "7"}},
		"long":       {jsonrpc2.CallInfo{ID: `"x` + long + `"`}, map[attribute.Key]string{"jsonrpc.request.id": "x" + long[:1022]}},
		"not UTF-8":  {jsonrpc2.CallInfo{ID: "\"\xff7\""}, map[attribute.Key]string{"jsonrpc.request.id": "7"}},
		"null":       {jsonrpc2.CallInfo{ID: `null`}, map[attribute.Key]string{}},
		"none":       {jsonrpc2.CallInfo{}, map[attribute.Key]string{}},
		"an address": {jsonrpc2.CallInfo{Peer: jsonrpc2.Peer{Addr: "10.0.0.7:41512"}}, map[attribute.Key]string{"network.peer.address": "10.0.0.7", "network.peer.port": "41512"}},
		"IPv6":       {jsonrpc2.CallInfo{Peer: jsonrpc2.Peer{Addr: "[::1]:80"}}, map[attribute.Key]string{"network.peer.address": "::1", "network.peer.port": "80"}},
		"a socket":   {jsonrpc2.CallInfo{Peer: jsonrpc2.Peer{Addr: "/run/calc"}}, map[attribute.Key]string{"network.peer.address": "/run/calc"}},
		"a pipe":     {jsonrpc2.CallInfo{Peer: jsonrpc2.Peer{Addr: "pipe"}}, map[attribute.Key]string{"network.peer.address": "pipe"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newTelemetry()
			test.call.Method = "A.B"
			run(t, otelrpc.Server(m.options()), &test.call, nil)
			got := make(map[attribute.Key]string)
			for _, a := range m.ended(t, 1)[0].Attributes() {
				got[a.Key] = a.Value.String()
			}
			test.want["rpc.system.name"], test.want["rpc.method"], test.want["jsonrpc.protocol.version"] = "jsonrpc", "A.B", "2.0"
			require.Equal(t, test.want, got)
		})
	}
}

// The text of an error is clipped.
func TestLongError(t *testing.T) {
	t.Parallel()
	m := newTelemetry()
	run(t, otelrpc.Server(m.options()), &jsonrpc2.CallInfo{Method: "A.B"}, &jsonrpc2.Error{Message: "x" + strings.Repeat("é", 10_000)})
	text := m.ended(t, 1)[0].Status().Description
	require.Len(t, text, 1023)
	require.True(t, utf8.ValidString(text))
}

// The histograms are those of the conventions.
func TestHistograms(t *testing.T) {
	t.Parallel()
	m := newTelemetry()
	opts := m.options()
	opts.Attributes = []attribute.KeyValue{attribute.String("server.address", "calc.example")}
	run(t, otelrpc.Client(opts), &jsonrpc2.CallInfo{Method: "A.B", ID: "7"}, nil)
	h := m.histograms(t)[0]
	require.Equal(t, "rpc.client.call.duration", h.Name)
	require.Equal(t, "s", h.Unit)
	point := h.Data.(metricdata.Histogram[float64]).DataPoints[0]
	require.Equal(t, []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}, point.Bounds)
	require.Equal(t, attribute.NewSet(
		attribute.String("rpc.system.name", "jsonrpc"), attribute.String("rpc.method", "A.B"), attribute.String("server.address", "calc.example"),
	), point.Attributes)
	require.Equal(t, m.ended(t, 1)[0].SpanContext().TraceID(), trace.TraceID(point.Exemplars[0].TraceID))
}

// Strangers that make up methods and codes fill no memory: the rest is measured together.
func TestMeasurementsAreBounded(t *testing.T) {
	t.Parallel()
	m := newTelemetry()
	begin := otelrpc.Client(m.options())
	for n := range 1010 {
		run(t, begin, &jsonrpc2.CallInfo{Method: fmt.Sprintf("A.M%d", n)}, nil)
	}
	for n := range 60 {
		run(t, begin, &jsonrpc2.CallInfo{Method: "A.M0"}, &jsonrpc2.Error{Code: int64(n)})
	}
	lines := m.measured(t)
	require.Len(t, lines, 1001+51)
	require.Contains(t, lines, "client _OTHER: 10")
	require.Contains(t, lines, "client A.M0 error.type=_OTHER: 10")
	require.Contains(t, m.lines(), "client A.M1009")
}
