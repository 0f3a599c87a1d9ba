package httpconn_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"strings"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/httpconn"
)

// serveCalc serves Calc at /calc of a server.
func serveCalc(ctx context.Context) *httptest.Server {
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	handler, err := httpconn.Listen(nil)
	if err != nil {
		panic(err)
	}
	go jsonrpc2.Serve(ctx, server, handler, &jsonrpc2.ServerOptions{Service: "Calc"})
	mux := http.NewServeMux()
	mux.Handle("/calc", handler)
	return httptest.NewServer(mux)
}

func ExampleListen() {
	ctx, drain := context.WithCancel(context.Background())
	defer drain()
	web := serveCalc(ctx)
	defer web.Close()

	response, err := http.Post(web.URL+"/calc", "application/json",
		strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"add","params":[1,5.1]}`))
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	fmt.Println(response.StatusCode, string(body), err)
	// Output: 200 {"jsonrpc":"2.0","id":1,"result":6.1} <nil>
}

func ExampleDial() {
	ctx, drain := context.WithCancel(context.Background())
	defer drain()
	web := serveCalc(ctx)
	defer web.Close()

	conn, err := httpconn.Dial(web.URL+"/calc", &httpconn.DialOptions{
		Header: func(_ context.Context, header http.Header) { header.Set("Authorization", "Bearer …") },
	})
	if err != nil {
		panic(err)
	}
	client := jsonrpc2.NewClient(jsonrpc2.Batch(conn, nil), &jsonrpc2.ClientOptions{Service: "Calc"})
	defer client.Close()
	sum, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)
	// Output: 6.1 <nil>
}
