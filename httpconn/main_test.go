package httpconn_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// unhurried is a time limit for what is quick: a machine may be busy for seconds. A test waits for
// it to pass.
const unhurried = 3 * time.Second

const (
	add    = `{"jsonrpc":"2.0","id":1,"method":"add","params":[1,5.1]}`
	added  = `{"jsonrpc":"2.0","id":1,"result":6.1}`
	pass   = `{"jsonrpc":"2.0","id":1,"method":"Slow.Wait","params":[7]}`
	passed = `{"jsonrpc":"2.0","id":1,"result":7}`
)

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
	*servicetest.Server
	handler *httpconn.Handler
	slow    *servicetest.Slow
}

// serve serves Calc, a Slow, and more until the test's cleanup.
func serve(t *testing.T, opts *httpconn.ListenOptions, codec jsonrpc2.ServerOptions, more ...any) *service {
	t.Helper()
	s := &service{handler: listen(t, opts), slow: servicetest.NewSlow()}
	codec.Logger = servicetest.Quiet
	s.Server = servicetest.Serve(t, s.handler, codec, append(more, s.slow)...)
	t.Cleanup(func() { s.end(t) })
	return s
}

// end drains the service, lets its calls go and waits until it is gone.
func (s *service) end(t *testing.T) {
	t.Helper()
	s.Drain()
	s.slow.Open()
	s.End(t)
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
	t.Cleanup(s.slow.Open) // or Close would wait for ever
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
