package amqpconn_test

import (
	"context"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A client sends a trace in the headers of single requests, too. A server takes a trace from
// the headers of foreign requests.
func TestTraceInHeaders(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	seen := make(chan jsonrpc2.Meta, 10)
	begin := func(_ context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
		seen <- call.Meta
		return nil, nil, nil
	}
	trace := jsonrpc2.Meta{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1", "token": "secret"}
	c := dial(t, s, &amqpconn.DialOptions{Declare: &amqpconn.Queue{}, Logger: servicetest.Quiet}, 0)
	c.Client.Go("Calc.Add", calc.Args{A: 1}, nil, nil)
	go jsonrpc2.Notify(jsonrpc2.WithMeta(t.Context(), trace), c.Client, "Calc.Add", calc.Args{A: 1})
	s.requireWaiting(t, 2)
	var published []amqp.Table
	for range 2 {
		message, ok, err := s.channel(t).Get(s.queue, true)
		require.NoError(t, err)
		require.True(t, ok)
		published = append(published, message.Headers)
	}
	require.ElementsMatch(t, []amqp.Table{nil, {"traceparent": trace["traceparent"], "tracestate": "a=1"}}, published)

	w := serveWith(t, s, nil, jsonrpc2.ServerOptions{Begin: begin, Logger: servicetest.Quiet})
	foreign := amqp.Publishing{Headers: amqp.Table{"traceparent": trace["traceparent"], "odd": int32(7)}, Body: []byte(`{"jsonrpc":"2.0","method":"add","params":[1,2]}`)}
	require.NoError(t, s.channel(t).Publish("", s.queue, false, false, foreign))
	require.Equal(t, jsonrpc2.Meta{"traceparent": trace["traceparent"]}, <-seen)
	w.End(t)
}
