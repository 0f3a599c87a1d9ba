package redisconn_test

import (
	"context"
	"fmt"
	"net/rpc"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A service and its client on an embedded Redis.
func Example() {
	broker, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer broker.Close()
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr()})
	defer rdb.Close()

	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	listening, err := redisconn.Listen(rdb, "calc", nil)
	if err != nil {
		panic(err)
	}
	ctx, drain := context.WithCancel(context.Background())
	served := make(chan error)
	go func() {
		served <- jsonrpc2.Serve(ctx, server, listening, &jsonrpc2.ServerOptions{Service: "Calc"})
	}()

	conn, err := redisconn.Dial(rdb, "calc", nil)
	if err != nil {
		panic(err)
	}
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
	sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)

	client.Close()
	fmt.Println(conn.Stats().Requests, "request sent")
	drain()
	fmt.Println(<-served)
	// Output:
	// 6.1 <nil>
	// 1 request sent
	// <nil>
}

// Programs in other languages push a text onto the list, and take the answer off
// the one they named.
func ExampleListen() {
	broker, err := miniredis.Run()
	if err != nil {
		panic(err)
	}
	defer broker.Close()
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr()})
	defer rdb.Close()

	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	conn, err := redisconn.Listen(rdb, "calc", &redisconn.ListenOptions{Prefetch: 10})
	if err != nil {
		panic(err)
	}
	ctx, drain := context.WithCancel(context.Background())
	served := make(chan error)
	go func() {
		served <- jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
	}()

	rdb.LPush(ctx, "calc", `{"id":"my-1","jsonrpc":"2.0","method":"add","params":[1,5.1]}`)
	answer, err := rdb.BRPop(ctx, 0, "my-1").Result()
	fmt.Println(answer, err)

	drain()
	fmt.Println(<-served)
	// Output:
	// [my-1 {"jsonrpc":"2.0","id":"my-1","result":6.1}] <nil>
	// <nil>
}

// A client of a server that knows lists named by the id only.
func ExampleDial() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	conn, err := redisconn.Dial(rdb, "calc", &redisconn.DialOptions{ReplyPerCall: true})
	if err != nil {
		panic(err)
	}
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc", Positional: true})
	defer client.Close()
	// client.Call("Calc.Add", …)
}

// The servers of a queue, as a page for operators may show them.
func ExampleServers() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	servers, err := redisconn.Servers(context.Background(), rdb, "calc")
	if err != nil {
		panic(err)
	}
	for _, s := range servers {
		fmt.Printf("%s, process %d: %d places, since %v\n", s.Host, s.PID, s.Places, s.Since)
	}
}

// Requests that killed their servers, queued again now that the servers are mended. Those that
// are a day old are deleted.
func ExampleNewDeadList() {
	rdb := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
	defer rdb.Close()
	list := redisconn.NewDeadList(rdb, "calc")
	ctx := context.Background()
	dead, err := list.List(ctx, -1)
	if err != nil {
		panic(err)
	}
	var old, young []jsonrpc2.DeadRequest
	for _, d := range dead {
		fmt.Println(d.ID(), d.Time, d.Method(), d.Reason)
		if time.Since(d.Time) > 24*time.Hour {
			old = append(old, d)
		} else {
			young = append(young, d)
		}
	}
	deleted, err := list.Delete(ctx, old...)
	fmt.Println(deleted, err)
	moved, err := list.Requeue(ctx, young...)
	fmt.Println(moved, err)
}
