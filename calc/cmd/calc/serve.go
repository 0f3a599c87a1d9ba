package main

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// service is the net/rpc service whose methods are served by their bare names.
const service = "Calc"

// readyPause is the pause between two looks whether calls are served.
const readyPause = 10 * time.Millisecond

// serve waits for the broker and serves until ctx is done. It returns when the running calls
// are answered. It says that it is ready when calls find it: before, RabbitMQ may have no queue.
func serve(ctx context.Context, in invocation) (err error) {
	b, err := in.flags.newBroker()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		return err
	}
	if b.await(ctx, in.stderr) != nil {
		return nil // a signal while it waits is no error
	}
	serving, err := b.listen(ctx, in.stderr)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- serving.run(ctx, server, &jsonrpc2.ServerOptions{Service: service}) }()
	for serving.impairment() != nil {
		select {
		case err := <-served:
			return err
		case <-time.After(readyPause):
		}
	}
	fmt.Fprintf(in.stderr, "calc: ready: serving add and subtract %s\n", b.place(in.flags.queue))
	return <-served
}
