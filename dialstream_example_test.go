package jsonrpc2_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"os"
	"path/filepath"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// serveCalcAt serves Calc at an address, until stop is called.
func serveCalcAt(l net.Listener, err error) (addr string, stop func()) {
	server := rpc.NewServer()
	if err := server.Register(calc.Calc{}); err != nil {
		panic(err)
	}
	if err != nil {
		panic(err)
	}
	ctx, drain := context.WithCancel(context.Background())
	served := make(chan error)
	go func() {
		served <- jsonrpc2.ServeListener(ctx, server, l, &jsonrpc2.ListenerOptions{
			ServerOptions: jsonrpc2.ServerOptions{Service: "Calc"},
		})
	}()
	return l.Addr().String(), func() { drain(); <-served }
}

func ExampleDialStream() {
	addr, stop := serveCalcAt(net.Listen("tcp", "127.0.0.1:0"))
	defer stop()

	var dialer net.Dialer
	conn := jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
		return dialer.DialContext(ctx, "tcp", addr)
	}, nil)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
	defer client.Close()

	sum, err := jsonrpc2.Call[float64](context.Background(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)
	// Output: 6.1 <nil>
}

func ExampleDialStream_unix() {
	dir, err := os.MkdirTemp("", "calc")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path, stop := serveCalcAt(net.Listen("unix", filepath.Join(dir, "sock")))
	defer stop()

	var dialer net.Dialer
	conn := jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
		return dialer.DialContext(ctx, "unix", path)
	}, nil)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
	defer client.Close()

	difference, err := jsonrpc2.Call[float64](context.Background(), client, "Calc.Subtract", calc.Args{A: 1, B: 5})
	fmt.Println(difference, err)
	// Output: -4 <nil>
}

func ExampleDialStream_tls() {
	web := httptest.NewTLSServer(http.NotFoundHandler()) // lends its certificate
	defer web.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(web.Certificate())
	addr, stop := serveCalcAt(tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: web.TLS.Certificates}))
	defer stop()

	dialer := tls.Dialer{Config: &tls.Config{RootCAs: trusted, ServerName: "example.com"}}
	conn := jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
		return dialer.DialContext(ctx, "tcp", addr)
	}, nil)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc"})
	defer client.Close()

	sum, err := jsonrpc2.Call[float64](context.Background(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	fmt.Println(sum, err)
	// Output: 6.1 <nil>
}
