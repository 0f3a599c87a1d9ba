package hooks_test

import (
	"context"
	"fmt"
	"net"
	"net/rpc"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/examples/hooks"
)

func ExampleLimiter() {
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	there, here := net.Pipe()
	limiter := hooks.NewLimiter(0.001, 2)
	go jsonrpc2.Serve(context.Background(), server, jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Begin: limiter.Begin})
	client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), nil)
	defer client.Close()

	for _, tenant := range []string{"7", "7", "7", "8"} {
		ctx := jsonrpc2.WithMeta(context.Background(), jsonrpc2.Meta{"tenant": tenant})
		sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
		fmt.Println(tenant, sum, err)
	}
	// Output:
	// 7 6.1 <nil>
	// 7 6.1 <nil>
	// 7 0 too many calls (JSON-RPC error 429)
	// 8 6.1 <nil>
}
