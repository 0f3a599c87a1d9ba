package main

import (
	"context"
	"fmt"
	"io"
	"net/rpc"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// service lets Calc.Add travel as add.
const service = "Calc"

// serve serves until ctx is done, and then until the running calls are
// answered.
func serve(ctx context.Context, f flags, stderr io.Writer) error {
	b, err := f.open()
	if err != nil {
		return err
	}
	defer b.close()
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		return err
	}
	if b.ping(ctx) != nil {
		fmt.Fprintf(stderr, "calc: waiting for %s\n", b.where)
	}
	if b.await(ctx) != nil {
		return nil // stopped before it began
	}
	conn, err := b.listen()
	if err != nil {
		return err
	}
	fmt.Fprintf(stderr, "calc: ready: serving add and subtract on queue %q of %s\n", f.queue, b.where)
	return jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: service})
}
