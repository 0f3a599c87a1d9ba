package natsconn_test

import (
	"context"
	"fmt"
	"net/rpc"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/examples/natsconn"
)

type Args struct{ A, B float64 }

type Calc struct{}

func (Calc) Add(args Args, sum *float64) error {
	*sum = args.A + args.B
	return nil
}

func Example() {
	broker, err := server.NewServer(&server.Options{DontListen: true})
	if err != nil {
		panic(err)
	}
	broker.Start()
	defer broker.Shutdown()

	nc, err := nats.Connect("", nats.InProcessServer(broker))
	if err != nil {
		panic(err)
	}
	defer nc.Close()

	// Serve the subject calc.
	serving, err := natsconn.Listen(nc, "calc")
	if err != nil {
		panic(err)
	}
	calc := rpc.NewServer()
	if err := calc.Register(Calc{}); err != nil {
		panic(err)
	}
	ctx, drain := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- jsonrpc2.Serve(ctx, calc, serving, &jsonrpc2.ServerOptions{Service: "Calc"}) }()

	// Call it.
	calling, err := natsconn.Dial(nc, "calc")
	if err != nil {
		panic(err)
	}
	client := jsonrpc2.NewClient(calling, &jsonrpc2.ClientOptions{Service: "Calc"})
	sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", Args{A: 1, B: 5.1})
	fmt.Println(sum, err)

	// Close the client, drain the server, and only then close the nats.Conn.
	fmt.Println(client.Close())
	drain()
	fmt.Println(<-served)
	// Output:
	// 6.1 <nil>
	// <nil>
	// <nil>
}
