package amqpconn_test

import (
	"context"
	"fmt"
	"log"
	"net/rpc"
	"os"
	"os/signal"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/calc"
)

// A service, served until the process is interrupted. It makes its queue where it
// is missing.
func ExampleListen() {
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		log.Fatal(err)
	}
	conn, err := amqpconn.Listen("amqp://localhost", "calc", &amqpconn.ListenOptions{
		Queue: amqpconn.Queue{Quorum: true, DeadLetter: true},
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"}); err != nil {
		log.Fatal(err)
	}
}

// A client of a cluster, whose requests survive the broker's restart.
func ExampleDial() {
	conn, err := amqpconn.Dial("amqp://node1", "calc", &amqpconn.DialOptions{
		URLs:       []string{"amqp://node2", "amqp://node3"},
		Persistent: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
	defer client.Close()
	sum, err := jsonrpc2.Call[float64](context.Background(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)
}

// Requests that killed their servers, queued again now that the servers are mended. Those that
// are a day old are deleted.
func ExampleNewDeadList() {
	list, err := amqpconn.NewDeadList("amqp://localhost", "calc", nil)
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	dead, err := list.List(ctx, -1)
	if err != nil {
		log.Fatal(err)
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
