package faulttest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/rpc"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A website is a site over HTTP. Processes that come and go serve it.
type website struct {
	noBroker
	url  string
	addr string // where a process serves
}

// newWebsite returns a website without a server.
func newWebsite(t *testing.T) *website {
	addr := freeAddr(t)
	return &website{url: "http://" + addr, addr: addr}
}

// freeAddr returns an address at which servers may listen, one after another. Nobody else takes
// it in between.
func freeAddr(t *testing.T) string {
	return net.JoinHostPort("127.0.0.1", brokertest.FreePort(t))
}

// A noBroker has the methods of sites without a broker.
type noBroker struct{}

func (noBroker) listen(t *testing.T) jsonrpc2.ServerConn {
	require.FailNow(t, "processes serve it")
	return nil
}

func (noBroker) waiting() (int, error)   { return 0, nil }
func (noBroker) requireEmpty(*testing.T) {}
func (noBroker) noteVersion(*testing.T)  {}

// A tcpSite is a site over TCP. Processes that come and go serve it.
type tcpSite struct {
	noBroker
	addr string
}

func newTCPSite(t *testing.T) *tcpSite { return &tcpSite{addr: freeAddr(t)} }

func (s *tcpSite) dial(*testing.T) jsonrpc2.ClientConn {
	return jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", s.addr)
	}, &jsonrpc2.DialStreamOptions{Logger: servicetest.Quiet})
}

func (s *tcpSite) config() processConfig { return processConfig{TCPAddr: s.addr} }

// serveTCP serves at an address until ctx is done and the running calls are answered.
func serveTCP(ctx context.Context, server *rpc.Server, addr string, opts *jsonrpc2.ServerOptions) error {
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return jsonrpc2.ServeListener(ctx, server, ln, &jsonrpc2.ListenerOptions{ServerOptions: *opts})
}

func (s *website) dial(t *testing.T) jsonrpc2.ClientConn {
	conn, err := httpconn.Dial(s.url, nil)
	require.NoError(t, err)
	return conn
}

func (s *website) config() processConfig { return processConfig{HTTPAddr: s.addr} }

// serveHTTP serves at an address until ctx is done and the running calls are answered.
func serveHTTP(ctx context.Context, server *rpc.Server, addr string, opts *jsonrpc2.ServerOptions) error {
	handler, err := httpconn.Listen(nil)
	if err != nil {
		return err
	}
	web := &http.Server{Addr: addr, Handler: handler, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	ended := make(chan error, 1)
	go func() { ended <- web.ListenAndServe() }()
	served := jsonrpc2.Serve(ctx, server, handler, opts)
	down := web.Shutdown(context.Background())
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return errors.Join(served, down)
}

// A gateway is an HTTP proxy that can answer with an error status in place of the server.
type gateway struct {
	next   http.Handler
	status atomic.Int64 // of its own answers; 0: it passes requests on
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if status := int(g.status.Load()); status != 0 {
		http.Error(w, http.StatusText(status), status)
		return
	}
	g.next.ServeHTTP(w, r)
}
