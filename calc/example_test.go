package calc_test

import (
	"context"
	"fmt"
	"net"
	"net/rpc"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

func Example() {
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	ctx := context.Background()
	there, here := net.Pipe()
	go jsonrpc2.Serve(ctx, server, jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Service: "Calc"})

	client := calc.NewClient(jsonrpc2.NewStreamConn(here))
	defer client.Close()
	sum, err := client.Add(ctx, 1, 5.1)
	fmt.Println(sum, err)
	difference, err := client.Subtract(ctx, 1, 5)
	fmt.Println(difference, err)
	// Output:
	// 6.1 <nil>
	// -4 <nil>
}
