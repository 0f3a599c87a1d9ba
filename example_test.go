package jsonrpc2_test

import (
	"bufio"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// serveCalc serves Calc over one end of a pipe and returns the other.
func serveCalc(ctx context.Context) jsonrpc2.ClientConn {
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	there, here := net.Pipe()
	go jsonrpc2.Serve(ctx, server, jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Service: "Calc"})
	return jsonrpc2.NewStreamConn(here)
}

func ExampleCall() {
	ctx := context.Background()
	client := jsonrpc2.NewClient(serveCalc(ctx), &jsonrpc2.ClientOptions{Service: "Calc"})
	defer client.Close()

	sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)
	// Output: 6.1 <nil>
}

func ExampleNewClient() {
	client := jsonrpc2.NewClient(serveCalc(context.Background()), &jsonrpc2.ClientOptions{Service: "Calc"})
	defer client.Close()

	var difference float64
	err := client.Call("Calc.Subtract", calc.Args{A: 1, B: 5}, &difference)
	fmt.Println(difference, err)
	// Output: -4 <nil>
}

func ExampleNewClientCodec() {
	codec := jsonrpc2.NewClientCodec(serveCalc(context.Background()), nil)
	client := rpc.NewClientWithCodec(codec)
	defer client.Close()

	var sum float64
	err := client.Call("Calc.Add", calc.Args{A: 1, B: 2}, &sum)
	fmt.Println(sum, err)
	// Output: 3 <nil>
}

func ExampleNewServerCodec() {
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	there, here := net.Pipe()
	go server.ServeCodec(jsonrpc2.NewServerCodec(context.Background(), jsonrpc2.NewStreamConn(there), nil))

	fmt.Fprintln(here, `{"jsonrpc":"2.0","id":1,"method":"Calc.Add","params":[1,5.1]}`)
	answer := make([]byte, 100)
	n, err := here.Read(answer)
	fmt.Println(string(answer[:n-1]), err)
	here.Close()
	// Output: {"jsonrpc":"2.0","id":1,"result":6.1} <nil>
}

// A method chooses the code and the data of its error.
type Bank struct{}

func (Bank) Withdraw(amount int, balance *int) error {
	if amount > 100 {
		return &jsonrpc2.Error{Code: 402, Message: "insufficient funds", Data: []byte(`{"balance":100}`)}
	}
	*balance = 100 - amount
	return nil
}

func ExampleServe() {
	server := rpc.NewServer()
	if err := server.Register(Bank{}); err != nil {
		panic(err)
	}
	there, here := net.Pipe()
	ctx, drain := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- jsonrpc2.Serve(ctx, server, jsonrpc2.NewStreamConn(there), nil) }()
	client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), nil)
	defer client.Close()

	_, err := jsonrpc2.Call[int](ctx, client, "Bank.Withdraw", 700)
	fmt.Println(err)
	var e *jsonrpc2.Error
	if errors.As(err, &e) {
		fmt.Println(e.Code, string(e.Data))
	}
	drain()
	fmt.Println(<-served)
	// Output:
	// insufficient funds (JSON-RPC error 402, data {"balance":100})
	// 402 {"balance":100}
	// <nil>
}

func ExampleAsError() {
	client := jsonrpc2.NewClient(serveCalc(context.Background()), nil)
	defer client.Close()

	err := client.Call("Calc.Multiply", calc.Args{A: 1, B: 2}, new(float64))
	if e, ok := jsonrpc2.AsError(err); ok {
		fmt.Println(e.Code, e.Message)
	}
	// Output: -32601 method not found: Calc.Multiply
}

func ExampleNotify() {
	there, here := net.Pipe()
	client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), nil)
	defer client.Close()

	sent := make(chan string)
	go func() {
		line, _ := bufio.NewReader(there).ReadString('\n')
		sent <- line
	}()
	err := jsonrpc2.Notify(context.Background(), client, "Log.Write", map[string]string{"line": "hello"})
	fmt.Print(<-sent)
	fmt.Println(err)
	// Output:
	// {"jsonrpc":"2.0","method":"Log.Write","params":{"line":"hello"}}
	// <nil>
}

func ExampleShutdown() {
	client := jsonrpc2.NewClient(serveCalc(context.Background()), &jsonrpc2.ClientOptions{Service: "Calc"})
	var sum float64
	call := client.Go("Calc.Add", calc.Args{A: 1, B: 5.1}, &sum, nil)

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := jsonrpc2.Shutdown(ctx, client)
	fmt.Println(err, (<-call.Done).Error, sum)
	// Output: <nil> <nil> 6.1
}

func ExampleRetry() {
	conn := jsonrpc2.Retry(serveCalc(context.Background()), nil)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
	defer client.Close()

	// This call may run twice: it is sent again also if its answer is lost, or if none has
	// come for 2 s. Others are sent again only if they certainly did not run.
	ctx := jsonrpc2.WithRetryPolicy(context.Background(), jsonrpc2.RetryPolicy{Idempotent: true, After: 2 * time.Second})
	sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)
	// Output: 6.1 <nil>
}

func ExamplePipe() {
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	here, there := jsonrpc2.Pipe()
	ctx, drain := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- jsonrpc2.Serve(ctx, server, there, nil) }()

	client := jsonrpc2.NewClient(here, nil)
	difference, err := jsonrpc2.Call[float64](ctx, client, "Calc.Subtract", calc.Args{A: 1, B: 5.1})
	fmt.Println(difference, err)

	client.Close()
	drain()
	fmt.Println(<-served)
	// Output:
	// -4.1 <nil>
	// <nil>
}

func ExampleNewStreamConn() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	defer l.Close()
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	go func() {
		conn, err := l.Accept()
		if err == nil {
			_ = jsonrpc2.Serve(context.Background(), server, jsonrpc2.NewStreamConn(conn), nil)
		}
	}()

	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		panic(err)
	}
	client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(conn), nil)
	defer client.Close()
	sum, err := jsonrpc2.Call[float64](context.Background(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)
	// Output: 6.1 <nil>
}

// A method that takes long looks at the context of its call.
type Digger struct{ begun chan bool }

type DigArgs struct {
	jsonrpc2.Context
	Meters int
}

func (d *Digger) Dig(args *DigArgs, dug *int) error {
	d.begun <- true
	select {
	case <-time.After(time.Duration(args.Meters) * time.Hour):
		*dug = args.Meters
		return nil
	case <-args.Done():
		return args.Err()
	}
}

func ExampleContext() {
	server, digger := rpc.NewServer(), &Digger{make(chan bool)}
	if err := server.Register(digger); err != nil {
		panic(err)
	}
	there, here := net.Pipe()
	ctx, drain := context.WithCancel(context.Background())
	opts := &jsonrpc2.ServerOptions{Grace: 5 * time.Millisecond}
	go jsonrpc2.Serve(ctx, server, jsonrpc2.NewStreamConn(there), opts)
	client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), nil)
	defer client.Close()

	call := client.Go("Digger.Dig", DigArgs{Meters: 7}, new(int), nil)
	<-digger.begun
	drain()
	fmt.Println((<-call.Done).Error)
	// Output: context canceled
}

// ready answers a readiness probe: 200 while all ends work, else 503 with the reason. Err
// does no I/O, so that the probe is answered at once. Kubernetes asks it by
//
//	readinessProbe: {httpGet: {path: /ready, port: 8080}}
func ready(ends ...interface{ Err() error }) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, end := range ends {
			if err := end.Err(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
	}
}

func Example_readiness() {
	there, here := net.Pipe()
	defer here.Close()
	conn := jsonrpc2.NewStreamConn(there) // or that of a Listen
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- jsonrpc2.Serve(ctx, rpc.NewServer(), conn, nil) }()

	probe := func() int {
		w := httptest.NewRecorder()
		ready(conn)(w, httptest.NewRequest("GET", "/ready", nil))
		return w.Code
	}
	fmt.Println(probe())
	drain()
	fmt.Println(<-done, probe())
	// Output:
	// 200
	// <nil> 503
}

// Heroku ends a dyno by SIGTERM, and kills it after 30 s. A Grace of 25 s ends the contexts
// of methods that still run then: that leaves them 5 s to return, and their answers to be
// sent. For Kubernetes the same holds of its terminationGracePeriodSeconds, 30 by default.
func Example_heroku() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	there, here := net.Pipe()
	defer here.Close()
	opts := &jsonrpc2.ServerOptions{Grace: 25 * time.Second}

	self, err := os.FindProcess(os.Getpid())
	if err != nil {
		panic(err)
	}
	go self.Signal(syscall.SIGTERM) // as Heroku would
	fmt.Println(jsonrpc2.Serve(ctx, rpc.NewServer(), jsonrpc2.NewStreamConn(there), opts))
	// Output: <nil>
}

// A Begin that lets in only calls with the right token in their metadata.
func ExampleBeginFunc_token() {
	authenticate := func(ctx context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
		if subtle.ConstantTimeCompare([]byte(call.Meta["token"]), []byte("s3cret")) == 0 {
			return nil, nil, &jsonrpc2.Error{Code: 401, Message: "who are you?"}
		}
		return ctx, nil, nil
	}
	client := serveWith(authenticate)
	defer client.Close()

	ctx := context.Background()
	_, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(err)
	ctx = jsonrpc2.WithMeta(ctx, jsonrpc2.Meta{"token": "s3cret"})
	sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)
	// Output:
	// who are you? (JSON-RPC error 401)
	// 6.1 <nil>
}

// A Begin that logs each call when it has ended.
func ExampleBeginFunc_log() {
	log := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: withoutTimes}))
	logCalls := func(_ context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
		began := time.Now()
		return nil, func(err error) {
			log.Info("call", "method", call.Method, "tenant", call.Meta["tenant"], "error", err, "took", time.Since(began))
		}, nil
	}
	client := serveWith(logCalls)
	defer client.Close()

	ctx := jsonrpc2.WithMeta(context.Background(), jsonrpc2.Meta{"tenant": "7"})
	_, _ = jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	_, _ = jsonrpc2.Call[int](ctx, client, "Bank.Withdraw", 700)
	// Output:
	// level=INFO msg=call method=Calc.Add tenant=7 error=<nil>
	// level=INFO msg=call method=Bank.Withdraw tenant=7 error="insufficient funds (JSON-RPC error 402, data {\"balance\":100})"
}

// withoutTimes leaves out what differs from one run to the next.
func withoutTimes(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.TimeKey || a.Key == "took" {
		return slog.Attr{}
	}
	return a
}

// A Begin that validates the arguments of a method before it runs.
func ExampleBeginFunc_validation() {
	validate := func(_ context.Context, _ *jsonrpc2.CallInfo, args any) (context.Context, func(error), error) {
		if amount, ok := args.(*int); ok && *amount <= 0 {
			return nil, nil, &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidParams, Message: "the amount must be positive"}
		}
		return nil, nil, nil
	}
	client := serveWith(validate)
	defer client.Close()

	_, err := jsonrpc2.Call[int](context.Background(), client, "Bank.Withdraw", -7)
	fmt.Println(err)
	// Output: the amount must be positive (JSON-RPC error -32602)
}

// serveWith serves Calc and Bank with a Begin over a pipe, and returns a client.
func serveWith(begin jsonrpc2.BeginFunc) *rpc.Client {
	server := rpc.NewServer()
	for _, service := range []any{calc.Calc{}, Bank{}} {
		if err := server.Register(service); err != nil {
			panic(err)
		}
	}
	there, here := net.Pipe()
	go jsonrpc2.Serve(context.Background(), server, jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Begin: begin})
	return jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), nil)
}
