package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/rpc"
	"strconv"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/micromessaging/jsonrpc2"
)

const (
	defaultTimeout = 5 * time.Second
	maxTimeout     = 20 * time.Second // less than grace: each request is answered before the end
	maxOrder       = 64 << 10         // bytes
)

// A front takes orders over HTTP.
type front struct{ orders *rpc.Client }

// newFront returns a front with a span around it: each order is a trace, or continues that of
// the customer.
func newFront(orders *rpc.Client, spans trace.TracerProvider) http.Handler {
	return otelhttp.NewHandler(front{orders}, "POST /orders",
		otelhttp.WithTracerProvider(spans), otelhttp.WithPropagators(propagation.TraceContext{}))
}

// ServeHTTP has an order placed. The customer's deadline is that of the call.
func (f front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var order Order
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxOrder)).Decode(&order); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	order.ID = rand.Text()
	ctx, cancel := context.WithTimeout(r.Context(), timeoutOf(r))
	defer cancel()
	receipt, err := jsonrpc2.Call[Receipt](ctx, f.orders, "Orders.Place", order)
	if err != nil {
		status, text := failure(ctx, err)
		slog.Warn("order failed", "order", order.ID, "status", status, "error", err)
		http.Error(w, fmt.Sprintf("order %s: %s", order.ID, text), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(receipt) // the customer may be gone
}

// timeoutOf returns how long the customer waits.
func timeoutOf(r *http.Request) time.Duration {
	ms, err := strconv.ParseUint(r.Header.Get("Request-Timeout-Ms"), 10, 32)
	if err != nil {
		return defaultTimeout
	}
	return min(time.Duration(ms)*time.Millisecond, maxTimeout)
}

// failure returns what to tell the customer of a call with ctx that failed.
func failure(ctx context.Context, err error) (status int, text string) {
	const notPlaced, unknown = "not placed, try again", "perhaps placed, ask before you try again"
	answer, answered := errors.AsType[*jsonrpc2.Error](err)
	switch {
	case answered && answer.Code == jsonrpc2.CodeInvalidParams:
		return http.StatusBadRequest, answer.Message
	case answered && answer.Code == codeNoSuchItem:
		return http.StatusNotFound, answer.Message
	case answered && answer.Code == codeOutOfStock:
		return http.StatusConflict, answer.Message
	case errors.Is(err, jsonrpc2.ErrNotRun):
		return http.StatusServiceUnavailable, notPlaced
	case ctx.Err() != nil:
		return http.StatusGatewayTimeout, unknown
	case errors.Is(err, jsonrpc2.ErrUnavailable), errors.Is(err, jsonrpc2.ErrNoServer), errors.Is(err, jsonrpc2.ErrOverloaded):
		return http.StatusServiceUnavailable, notPlaced
	}
	return http.StatusBadGateway, unknown
}
