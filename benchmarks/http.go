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
		timeRow("time per call vs powerman/rpc-codec", atMost(0.8), httpOurs.with(2), theirs(httpPowerman, 2)),
		speedRow("calls/s vs powerman/rpc-codec", bound{}, httpOurs.with(64), theirs(httpPowerman, 64)),
		speedRow("calls/s vs powerman/rpc-codec", atLeast(5), httpBatch.with(64), theirs(httpPowerman, 64)),
		speedRow("calls/s vs 64 callers", atLeast(0.95), httpOurs.with(512), httpOurs.with(64)),
		speedRow("calls/s vs 64 callers", bound{}, netHTTP.with(512), netHTTP.with(64)),
	}
}

var (
	httpOurs  = transport{"HTTP", openHTTPOurs(asItIs)}
	httpBatch = transport{"HTTP with Batch", openHTTPOurs(batch)}
	netHTTP   = transport{"net/http alone", httpFloor(0)}
)

// openHTTPOurs returns an opener of our server and our client. around wraps the client's Conn.
func openHTTPOurs(around func(jsonrpc2.ClientConn) jsonrpc2.ClientConn) opener {
	return func(_ *environment, t *target) error {
		server, err := newServer()
		if err != nil {
			return err
		}
		handler, err := httpconn.Listen(nil)
		if err != nil {
			return err
		}
		url, err := serveHTTP(t, handler)
		if err != nil {
			return err
		}
		serveOurs(t, server, handler)
		conn, err := httpconn.Dial(url, nil)
		if err != nil {
			return err
		}
		t.useClient(jsonrpc2.NewClient(around(conn), nil))
		return nil
	}
}

// httpPowerman is the net/rpc codec powerman/rpc-codec over HTTP, with its defaults. Its client
// keeps the two idle connections that net/http keeps by default.
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
