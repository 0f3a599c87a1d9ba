package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/rpc"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/otelrpc"
	"github.com/micromessaging/jsonrpc2/promrpc"
)

// grace is how long the end may take, all its steps together. Methods that still run then
// have a moment to return: the supervisor should kill 5 s later.
const grace = 25 * time.Second

// A process is what web and worker have in common: clients and servers of one broker, what
// watches them, and the pages that show it.
type process struct {
	broker  *broker
	spans   *trace.TracerProvider
	metrics *prometheus.Registry
	mux     *http.ServeMux
	conns   []interface{ Err() error }
	clients []*rpc.Client
	drains  []func(context.Context) error // of the servers, that of HTTP last

	graceOver context.Context // ends the contexts of the calls that are served
	endGrace  context.CancelFunc
}

func newProcess(b *broker, spans *trace.TracerProvider) *process {
	p := &process{broker: b, spans: spans, metrics: prometheus.NewRegistry(), mux: http.NewServeMux()}
	p.graceOver, p.endGrace = context.WithCancel(context.Background())
	p.mux.Handle("GET /metrics", promhttp.HandlerFor(p.metrics, promhttp.HandlerOpts{}))
	p.mux.HandleFunc("GET /readyz", p.ready)
	return p
}

// newTracer returns what makes the spans of a service. A company would have an exporter to
// its collector in place of the console.
func newTracer(service, exporter string) (*trace.TracerProvider, error) {
	name := trace.WithResource(resource.NewSchemaless(attribute.String("service.name", service)))
	if exporter != "console" {
		return trace.NewTracerProvider(name), nil
	}
	console, err := stdouttrace.New()
	return trace.NewTracerProvider(name, trace.WithBatcher(console)), err
}

func (p *process) tracing(queue string) *otelrpc.Options {
	return &otelrpc.Options{TracerProvider: p.spans, System: p.broker.name, Destination: queue}
}

// client returns a client of a queue. What certainly did not run, as while the broker
// restarts, it sends again until the deadline.
func (p *process) client(queue string, guarantee jsonrpc2.Guarantee) (*rpc.Client, error) {
	conn, counts, err := p.broker.dial(queue, guarantee)
	if err != nil {
		return nil, err
	}
	metrics := promrpc.NewClientMetrics(queue, nil)
	p.metrics.MustRegister(metrics, counts)
	client := jsonrpc2.NewClient(jsonrpc2.Retry(conn, nil), &jsonrpc2.ClientOptions{
		Begin: jsonrpc2.JoinBegin(otelrpc.Client(p.tracing(queue)), metrics.Begin),
		Stats: &metrics.Stats,
	})
	p.conns, p.clients = append(p.conns, conn), append(p.clients, client)
	return client, nil
}

// serve serves a queue with a service until the process is closed.
func (p *process) serve(queue string, service any, guarantee jsonrpc2.Guarantee) error {
	server := rpc.NewServer()
	if err := server.Register(service); err != nil {
		return err
	}
	conn, counts, err := p.broker.listen(queue, guarantee)
	if err != nil {
		return err
	}
	metrics := promrpc.NewServerMetrics(queue, nil)
	p.metrics.MustRegister(metrics, counts)
	opts := &jsonrpc2.ServerOptions{
		Begin: jsonrpc2.JoinBegin(p.begin, otelrpc.Server(p.tracing(queue)), metrics.Begin),
		Stats: &metrics.Stats,
		Grace: grace,
	}
	ctx, end := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- jsonrpc2.Serve(ctx, server, conn, opts) }()
	drain := func(context.Context) error { // its end reaches the calls by p.begin
		end()
		return <-served
	}
	p.conns, p.drains = append(p.conns, conn), append(p.drains, drain)
	return nil
}

// begin makes the context of a call end with the grace of the process. The Grace of each
// server begins only when those before it are drained.
func (p *process) begin(ctx context.Context, _ *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(p.graceOver, cancel)
	return ctx, func(error) { stop(); cancel() }, nil
}

// ready answers whether all clients and servers are connected to the broker.
func (p *process) ready(w http.ResponseWriter, _ *http.Request) {
	for _, conn := range p.conns {
		if err := conn.Err(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	fmt.Fprintln(w, "ready")
}

// serveHTTP serves the mux until the process is closed. It returns when ctx is done.
func (p *process) serveHTTP(ctx context.Context, port string) error {
	server := &http.Server{Addr: ":" + cmp.Or(port, "8080"), Handler: p.mux, ReadTimeout: grace}
	p.drains = append(p.drains, server.Shutdown)
	failed := make(chan error, 1)
	go func() { failed <- server.ListenAndServe() }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

// close ends the process, and loses nothing: the servers answer what they run and leave the
// rest to others. Then no method makes calls any more, and the clients can go. All steps
// share one deadline, so that the process ends before its supervisor kills it.
func (p *process) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	context.AfterFunc(ctx, p.endGrace)
	var errs []error
	for _, drain := range p.drains {
		errs = append(errs, drain(ctx))
	}
	for _, client := range p.clients {
		errs = append(errs, jsonrpc2.Shutdown(ctx, client))
	}
	return errors.Join(append(errs, p.spans.Shutdown(ctx), p.broker.close())...)
}
