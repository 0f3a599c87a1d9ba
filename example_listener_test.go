package jsonrpc2_test

import (
	"context"
	"fmt"
	"net"
	"net/rpc"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// A server on TCP. For TLS, take l from tls.Listen, for a Unix socket from
// net.Listen("unix", path). In a program, take ctx from signal.NotifyContext.
func ExampleServeListener() {
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	ctx, drain := context.WithCancel(context.Background())
	conns := new(jsonrpc2.ListenerStats)
	done := make(chan error)
	go func() {
		done <- jsonrpc2.ServeListener(ctx, server, l, &jsonrpc2.ListenerOptions{
			ServerOptions: jsonrpc2.ServerOptions{Service: "Calc", Grace: 25 * time.Second},
			IdleTimeout:   10 * time.Minute,
			ListenerStats: conns,
		})
	}()

	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(conn), &jsonrpc2.ClientOptions{Service: "Calc"})
	defer client.Close()
	sum, err := jsonrpc2.Call[float64](context.Background(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)
	fmt.Println(conns.Snapshot().Open)

	drain()
	fmt.Println(<-done, conns.Snapshot().Open)
	// Output:
	// 6.1 <nil>
	// 1
	// <nil> 0
}
