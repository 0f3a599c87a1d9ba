package main

import (
	"net"
	"net/http"

	powerman "github.com/powerman/rpc-codec/jsonrpc2"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
)

func httpRows() []row {
	return []row{
		timeRow("HTTP, 2 callers, time per call vs powerman/rpc-codec", atMost(0.8), side{httpOurs, 2}, side{httpPowerman, 2}),
		speedRow("HTTP, 64 callers, calls/s vs powerman/rpc-codec", bound{}, side{httpOurs, 64}, side{httpPowerman, 64}),
		speedRow("HTTP with Batch, 64 callers, calls/s vs powerman/rpc-codec", atLeast(5), side{httpBatch, 64}, side{httpPowerman, 64}),
	}
}

func httpOurs(_ *environment, t *target) error {
	return openHTTPOurs(t, func(conn jsonrpc2.Conn) jsonrpc2.Conn { return conn })
}

func httpBatch(_ *environment, t *target) error { return openHTTPOurs(t, batch) }

// openHTTPOurs opens our server, and our client over a Conn around the Conn.
func openHTTPOurs(t *target, around func(jsonrpc2.Conn) jsonrpc2.Conn) error {
	server, err := newServer()
	if err != nil {
		return err
	}
	handler := httpconn.NewHandler(nil)
	url, err := serveHTTP(t, handler)
	if err != nil {
		return err
	}
	serveOurs(t, server, handler)
	t.useClient(jsonrpc2.NewClient(around(httpconn.Dial(url, nil)), nil))
	return nil
}

// httpPowerman is the other net/rpc codec for HTTP as it comes: its client keeps
// the two idle connections that net/http keeps by default.
func httpPowerman(_ *environment, t *target) error {
	server, err := newServer()
	if err != nil {
		return err
	}
	url, err := serveHTTP(t, powerman.HTTPHandler(server))
	if err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	t.onClose(transport.CloseIdleConnections)
	t.useClient(powerman.NewCustomHTTPClient(url, &http.Client{Transport: transport}).Client)
	return nil
}

// serveHTTP serves a handler on a loopback port and returns its URL.
func serveHTTP(t *target, handler http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := &http.Server{Handler: handler}
	t.start(func() { _ = server.Serve(l) }, func() { _ = server.Close() })
	return "http://" + l.Addr().String() + "/calc", nil
}
