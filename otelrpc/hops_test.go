package otelrpc_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"net/http/httptest"
	"net/rpc"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/otelrpc"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// transports open the two ends of a queue, or of what is like one.
var transports = map[string]func(t *testing.T, queue string) (jsonrpc2.ClientConn, jsonrpc2.ServerConn){
	"redis":    openRedis,
	"rabbitmq": openRabbitMQ,
	"http":     openHTTP,
	"stream":   openStream,
}

// brokers are the transports with a broker, by the names that the conventions know.
var brokers = []string{"redis", "rabbitmq"}

// brokerAttributes are those of the calls through a queue.
func brokerAttributes(transport, queue string) []attribute.KeyValue {
	if !slices.Contains(brokers, transport) {
		return nil
	}
	return []attribute.KeyValue{attribute.String("messaging.system", transport), attribute.String("messaging.destination.name", queue)}
}

func openRedis(t *testing.T, queue string) (jsonrpc2.ClientConn, jsonrpc2.ServerConn) {
	rdb := redis.NewClient(&redis.Options{Addr: brokertest.StartRedis(t).Addr})
	t.Cleanup(func() { _ = rdb.Close() })
	return servicetest.Must(redisconn.Dial(rdb, queue, nil)), servicetest.Must(redisconn.Listen(rdb, queue, nil))
}

func openRabbitMQ(t *testing.T, queue string) (jsonrpc2.ClientConn, jsonrpc2.ServerConn) {
	url := brokertest.SharedRabbitMQ(t).URL()
	queue += rand.Text()
	client := servicetest.Must(amqpconn.Dial(url, queue, &amqpconn.DialOptions{Declare: &amqpconn.Queue{}}))
	servicetest.Eventually(t, func() bool { return client.Err() == nil }) // a call waits for that for 1.5 s only
	return client, servicetest.Must(amqpconn.Listen(url, queue, nil))
}

func openHTTP(t *testing.T, _ string) (jsonrpc2.ClientConn, jsonrpc2.ServerConn) {
	handler := servicetest.Must(httpconn.Listen(nil))
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	return servicetest.Must(httpconn.Dial(web.URL, nil)), handler
}

func openStream(*testing.T, string) (jsonrpc2.ClientConn, jsonrpc2.ServerConn) {
	there, here := net.Pipe()
	return jsonrpc2.NewStreamConn(here), jsonrpc2.NewStreamConn(there)
}

// A gate is a ClientConn under a Batch. It holds the first message back until all calls
// have begun: so the others travel together.
type gate struct {
	jsonrpc2.ClientConn
	toBegin atomic.Int64
	opening sync.Once
	opened  chan struct{}
	batches atomic.Int64
}

func (g *gate) WriteRequest(r *jsonrpc2.Request) error {
	<-g.opened
	if r.Body[0] == '[' {
		g.batches.Add(1)
	}
	return g.ClientConn.WriteRequest(r)
}

func (g *gate) begin(context.Context, *jsonrpc2.CallInfo, any) (context.Context, func(error), error) {
	if g.toBegin.Add(-1) == 0 {
		g.open()
	}
	return nil, nil, nil
}

func (g *gate) open() { g.opening.Do(func() { close(g.opened) }) }

// ItemArgs are the arguments of the services.
type ItemArgs struct {
	jsonrpc2.Context
	Item int
}

// Inventory is the service at the end of the way.
type Inventory struct{}

// Take returns the metadata that it got.
func (Inventory) Take(args ItemArgs, meta *jsonrpc2.Meta) error {
	*meta = jsonrpc2.CallFrom(args).Meta
	return nil
}

// Orders is a service that calls another.
type Orders struct{ inventory *rpc.Client }

// A Placed has the metadata that both services got.
type Placed struct{ Orders, Inventory jsonrpc2.Meta }

// Place calls Inventory with its own context.
func (o Orders) Place(args ItemArgs, placed *Placed) (err error) {
	placed.Orders = jsonrpc2.CallFrom(args).Meta
	placed.Inventory, err = jsonrpc2.Call[jsonrpc2.Meta](args, o.inventory, "Inventory.Take", ItemArgs{Item: args.Item})
	return err
}

const calls = 8 // in each trace

// A hop is a service and its client.
type hop struct {
	*rpc.Client
	gate *gate // nil without batches
}

// newHop serves a service over a transport.
func newHop(t *testing.T, m *telemetry, transport, queue string, batch bool, service any) hop {
	opts := m.options()
	if slices.Contains(brokers, transport) {
		opts.System, opts.Destination = transport, queue
	}
	conn, listening := transports[transport](t, queue)
	servicetest.Serve(t, listening, jsonrpc2.ServerOptions{Begin: otelrpc.Server(opts), Logger: servicetest.Quiet}, service)
	h, begin := hop{}, otelrpc.Client(opts)
	if batch {
		h.gate = &gate{ClientConn: conn, opened: make(chan struct{})}
		h.gate.toBegin.Store(calls)
		begin = jsonrpc2.JoinBegin(begin, h.gate.begin)
		conn = jsonrpc2.Batch(h.gate, nil)
	}
	h.Client = jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Begin: begin, Timeout: servicetest.Soon, Logger: servicetest.Quiet})
	t.Cleanup(func() {
		if h.gate != nil {
			h.gate.open() // where the test failed before
		}
		_ = h.Close()
	})
	return h
}

// Each call over two hops is four spans of one trace, each the child of the one before:
// alone and in batches, on every transport. A token does not go on to the second hop.
func TestOneTraceOverTwoHops(t *testing.T) {
	t.Parallel()
	for transport := range transports {
		for name, batch := range map[string]bool{"alone": false, "batch": true} {
			t.Run(transport+" "+name, func(t *testing.T) {
				t.Parallel()
				m := newTelemetry()
				inventory := newHop(t, m, transport, "inventory", batch, Inventory{})
				orders := newHop(t, m, transport, "orders", batch, Orders{inventory.Client})
				ctx, end := m.start()
				placeAll(ctx, t, orders)
				end()
				requireOneTrace(t, m.ended(t, 1+4*calls), transport)
				requireMeasured(t, m, transport)
				if batch {
					require.Positive(t, orders.gate.batches.Load())
					require.Positive(t, inventory.gate.batches.Load())
				}
			})
		}
	}
}

// placeAll makes the calls at once, with a token and with baggage.
func placeAll(ctx context.Context, t *testing.T, orders hop) {
	ctx = baggage.ContextWithBaggage(ctx, servicetest.Must(baggage.Parse("tenant=7")))
	ctx = jsonrpc2.WithMeta(ctx, jsonrpc2.Meta{"token": "secret", "traceparent": "of before"})
	var placing sync.WaitGroup
	placed, errs := make([]Placed, calls), make([]error, calls)
	for i := range calls {
		placing.Go(func() {
			placed[i], errs[i] = jsonrpc2.Call[Placed](ctx, orders.Client, "Orders.Place", ItemArgs{Item: i})
		})
	}
	placing.Wait()
	for i := range calls {
		require.NoError(t, errs[i])
		require.Equal(t, "secret", placed[i].Orders["token"])
		require.ElementsMatch(t, []string{"traceparent", "baggage"}, slices.Collect(maps.Keys(placed[i].Inventory)))
		require.Equal(t, "tenant=7", placed[i].Inventory["baggage"])
	}
}

// requireOneTrace requires the spans of the calls under one root.
func requireOneTrace(t *testing.T, spans []sdk.ReadOnlySpan, transport string) {
	t.Helper()
	children := make(map[trace.SpanID][]sdk.ReadOnlySpan)
	for _, span := range spans {
		require.Equal(t, spans[0].SpanContext().TraceID(), span.SpanContext().TraceID())
		children[span.Parent().SpanID()] = append(children[span.Parent().SpanID()], span)
	}
	roots := children[trace.SpanID{}]
	require.Len(t, roots, 1)
	placed := children[roots[0].SpanContext().SpanID()]
	require.Len(t, placed, calls)
	for _, span := range placed {
		for i, want := range []struct {
			kind   trace.SpanKind
			method string
			queue  string
		}{
			{trace.SpanKindClient, "Orders.Place", "orders"},
			{trace.SpanKindServer, "Orders.Place", "orders"},
			{trace.SpanKindClient, "Inventory.Take", "inventory"},
			{trace.SpanKindServer, "Inventory.Take", "inventory"},
		} {
			require.Equal(t, want.kind, span.SpanKind())
			require.Equal(t, want.method, span.Name())
			require.Equal(t, want.kind == trace.SpanKindServer, span.Parent().IsRemote())
			require.Subset(t, span.Attributes(), append(brokerAttributes(transport, want.queue),
				attribute.String("rpc.system.name", "jsonrpc"), attribute.String("rpc.method", want.method)))
			if transport == "http" && want.kind == trace.SpanKindServer {
				require.Contains(t, span.Attributes(), attribute.String("network.peer.address", "127.0.0.1"))
			}
			next := children[span.SpanContext().SpanID()]
			if i == 3 {
				require.Empty(t, next)
				break
			}
			require.Len(t, next, 1)
			span = next[0]
		}
	}
}

func requireMeasured(t *testing.T, m *telemetry, transport string) {
	t.Helper()
	var want []string
	for _, kind := range []string{"client", "server"} {
		for _, at := range []struct{ queue, method string }{{"inventory", "Inventory.Take"}, {"orders", "Orders.Place"}} {
			attributes := attributesText(brokerAttributes(transport, at.queue))
			want = append(want, fmt.Sprintf("%s %s%s: %d", kind, at.method, attributes, calls))
		}
	}
	require.Equal(t, want, m.measured(t))
}
