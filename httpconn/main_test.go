package httpconn_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/httpconn"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const (
	soon = 20 * time.Second // for what should not take long
	tick = 2 * time.Millisecond

	add    = `{"jsonrpc":"2.0","id":1,"method":"add","params":[1,5.1]}`
	added  = `{"jsonrpc":"2.0","id":1,"result":6.1}`
	pass   = `{"jsonrpc":"2.0","id":1,"method":"Gate.Pass","params":[7]}`
	passed = `{"jsonrpc":"2.0","id":1,"result":7}`
)

var quiet = slog.New(slog.DiscardHandler)

// eventually waits until a condition holds.
func eventually(t *testing.T, condition func() bool, msgAndArgs ...any) {
	t.Helper()
	require.Eventually(t, condition, soon, tick, msgAndArgs...)
}

// A Gate has a method that runs until it is let through.
type Gate struct {
	running, ran, most atomic.Int64
	open               chan struct{}
	opening            sync.Once
}

// Pass returns n.
func (g *Gate) Pass(n int, reply *int) error {
	running := g.running.Add(1)
	for most := g.most.Load(); running > most && !g.most.CompareAndSwap(most, running); {
		most = g.most.Load()
	}
	<-g.open
	g.running.Add(-1)
	g.ran.Add(1)
	*reply = n
	return nil
}

// openWide lets everything through from now on.
func (g *Gate) openWide() { g.opening.Do(func() { close(g.open) }) }

// listen returns a Handler.
func listen(t testing.TB, opts *httpconn.ListenOptions) *httpconn.Handler {
	t.Helper()
	handler, err := httpconn.Listen(opts)
	require.NoError(t, err)
	return handler
}

// connect returns a Conn that calls a URL.
func connect(t testing.TB, url string, opts *httpconn.DialOptions) *httpconn.ClientConn {
	t.Helper()
	conn, err := httpconn.Dial(url, opts)
	require.NoError(t, err)
	return conn
}

// A service is a Handler that is served.
type service struct {
	handler *httpconn.Handler
	gate    *Gate
	drain   context.CancelFunc
	done    chan struct{} // closed when Serve has returned
	err     error         // what it returned
}

// serve serves Calc, a Gate, and more until the test's cleanup.
func serve(t *testing.T, opts *httpconn.ListenOptions, codec jsonrpc2.ServerOptions, more ...any) *service {
	t.Helper()
	s := &service{
		handler: listen(t, opts),
		gate:    &Gate{open: make(chan struct{})},
		done:    make(chan struct{}),
	}
	server := rpc.NewServer()
	for _, service := range append(more, calc.Calc{}, s.gate) {
		require.NoError(t, server.Register(service))
	}
	codec.Service, codec.Logger = "Calc", quiet
	ctx, cancel := context.WithCancel(context.Background())
	s.drain = cancel
	go func() {
		defer close(s.done)
		s.err = jsonrpc2.Serve(ctx, server, s.handler, &codec)
	}()
	t.Cleanup(func() { s.end(t) })
	return s
}

// end drains the service and waits until it is gone.
func (s *service) end(t *testing.T) {
	t.Helper()
	s.drain()
	s.gate.openWide()
	select {
	case <-s.done:
		require.NoError(t, s.err)
	case <-time.After(soon):
		require.Fail(t, "Serve does not return")
	}
}

// A site is a service behind a web server.
type site struct {
	*service
	*httptest.Server
	arrived, left, connections atomic.Int64
}

// newSite returns a site that serves until the test's cleanup.
func newSite(t *testing.T, opts *httpconn.ListenOptions, codec jsonrpc2.ServerOptions, more ...any) *site {
	t.Helper()
	s := &site{service: serve(t, opts, codec, more...)}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.arrived.Add(1)
		defer s.left.Add(1)
		s.handler.ServeHTTP(w, r)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.connections.Add(1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	t.Cleanup(s.gate.openWide) // or Close would wait for ever
	return s
}

// An answer is what came back for a request.
type answer struct {
	status int
	header http.Header
	body   string
}

// request returns a POST with headers, each "Name: value".
func request(t *testing.T, url, body string, headers ...string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader(body))
	require.NoError(t, err)
	for _, header := range headers {
		name, value, _ := strings.Cut(header, ": ")
		r.Header.Add(name, value)
	}
	return r
}

func (s *site) do(t *testing.T, r *http.Request) answer {
	t.Helper()
	response, err := s.Client().Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return answer{response.StatusCode, response.Header, string(body)}
}

// post posts a body that says no type.
func (s *site) post(t *testing.T, body string, headers ...string) answer {
	t.Helper()
	return s.do(t, request(t, s.URL, body, headers...))
}

// requireAdds makes sure that the site serves.
func (s *site) requireAdds(t *testing.T) {
	t.Helper()
	got := s.post(t, add)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.JSONEq(t, added, got.body)
}
