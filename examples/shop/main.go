// Shop is two services and an HTTP front, as a company would run them: see README.md.
//
//	shop web      takes orders over HTTP and has them placed
//	shop worker   serves Orders, Inventory and Audit, each on a queue of its own
//
// The environment configures both:
//
//	BROKER_URL            redis://… or amqp://…, the broker that all processes share. Else it is
//	                      that of REDIS_URL or CLOUDAMQP_URL, which platforms set
//	PORT                  of the HTTP server, 8080 by default
//	OTEL_TRACES_EXPORTER  console writes the spans to standard output
package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/micromessaging/jsonrpc2"
)

func main() {
	// A second signal changes nothing: at Ctrl-C the terminal sends one to all processes,
	// and foreman sends them another.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		slog.Error("shop failed", "error", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	commands := map[string]func(*process) error{"web": web, "worker": worker}
	if len(args) != 1 || commands[args[0]] == nil {
		return errors.New("usage: shop web, or: shop worker")
	}
	b, err := newBroker(cmp.Or(os.Getenv("BROKER_URL"), os.Getenv("REDIS_URL"), os.Getenv("CLOUDAMQP_URL")))
	if err != nil {
		return err
	}
	spans, err := newTracer("shop-"+args[0], os.Getenv("OTEL_TRACES_EXPORTER"))
	if err != nil {
		return err
	}
	p := newProcess(b, spans)
	err = commands[args[0]](p)
	if err == nil {
		err = p.serveHTTP(ctx, os.Getenv("PORT"))
	}
	return errors.Join(err, p.close())
}

// web takes orders over HTTP.
func web(p *process) error {
	orders, err := p.client("orders", jsonrpc2.AtMostOnce)
	if err == nil {
		p.mux.Handle("POST /orders", newFront(orders, p.spans))
	}
	return err
}

// worker serves all services. What runs in one may need the next: so they are drained in
// this order.
func worker(p *process) error {
	inventory, err := p.client("inventory", jsonrpc2.AtMostOnce)
	if err != nil {
		return err
	}
	audit, err := p.client("audit", jsonrpc2.AtLeastOnce)
	if err != nil {
		return err
	}
	return errors.Join(
		p.serve("orders", &Orders{inventory, audit}, jsonrpc2.AtMostOnce), // no customer gets his order twice
		p.serve("inventory", newInventory(), jsonrpc2.AtMostOnce),
		p.serve("audit", Audit{}, jsonrpc2.AtLeastOnce), // rather two records than none
	)
}
