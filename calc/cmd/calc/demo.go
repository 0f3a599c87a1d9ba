package main

import (
	"context"
	"fmt"
	"io"
	"net/rpc"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

const demoQueue = "calc"

const demoEnd = `
With a broker of your own, in two terminals:

	go run ./calc/cmd/calc serve -broker redis://localhost:6379
	go run ./calc/cmd/calc add   -broker redis://localhost:6379 1 5.1

Or without this program, in redis-cli:

	LPUSH calc '{"id":"my-1","jsonrpc":"2.0","method":"add","params":[1,5.1]}'
	BRPOP my-1 10
`

// demo serves and calls Calc over an embedded broker, and prints the messages that go over
// the wire. The server's goroutine and this one write to stdout in turn: the server writes
// only while a call waits for it.
func demo(ctx context.Context, stdout io.Writer) error {
	embedded, err := miniredis.Run()
	if err != nil {
		return err
	}
	defer embedded.Close()
	rdb := redis.NewClient(&redis.Options{Addr: embedded.Addr()})
	defer rdb.Close()
	fmt.Fprintf(stdout, "An embedded Redis listens on %s.\n", embedded.Addr())

	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	served := make(chan error, 1)
	conn, err := redisconn.Listen(rdb, demoQueue, nil)
	if err != nil {
		cancel()
		return err
	}
	go func() {
		served <- jsonrpc2.Serve(ctx, server, &trace{conn, stdout}, &jsonrpc2.ServerOptions{Service: service})
	}()
	fmt.Fprintf(stdout, "A net/rpc server serves calc.Calc on its list %q.\n", demoQueue)

	err = demoCalls(ctx, rdb, stdout)
	cancel() // drains the server
	if serveErr := <-served; err == nil {
		err = serveErr
	}
	if err == nil {
		_, err = io.WriteString(stdout, demoEnd)
	}
	return err
}

func demoCalls(ctx context.Context, rdb *redis.Client, stdout io.Writer) error {
	conn, err := redisconn.Dial(rdb, demoQueue, nil)
	if err != nil {
		return err
	}
	client := calc.NewClient(conn)
	defer client.Close()
	for _, c := range []struct {
		sign string
		call method
		a, b float64
	}{
		{"+", (*calc.Client).Add, 1, 5.1},
		{"-", (*calc.Client).Subtract, 1, 5},
	} {
		fmt.Fprintf(stdout, "\nA net/rpc client calls it:\n")
		result, err := c.call(client, ctx, c.a, c.b)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%v %s %v = %v\n", c.a, c.sign, c.b, result)
	}
	return nil
}

// A trace is a ServerConn that prints the messages with requests (-->) and their answers
// (<--).
type trace struct {
	jsonrpc2.ServerConn
	w io.Writer
}

func (t *trace) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	d, err := t.ServerConn.ReadRequest(ctx)
	if err != nil {
		return d, err
	}
	fmt.Fprintf(t.w, "  --> %s\n", d.Body)
	reply := d.Reply
	d.Reply = func(body []byte) error {
		fmt.Fprintf(t.w, "  <-- %s\n", body)
		return reply(body)
	}
	return d, nil
}
