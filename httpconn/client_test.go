package httpconn_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// dial returns a client, closed by the test's cleanup.
func dial(t *testing.T, conn jsonrpc2.ClientConn) *rpc.Client {
	t.Helper()
	return dialWith(t, conn, jsonrpc2.ClientOptions{})
}

func dialWith(t *testing.T, conn jsonrpc2.ClientConn, opts jsonrpc2.ClientOptions) *rpc.Client {
	t.Helper()
	opts.Service, opts.Logger, opts.Positional = "Calc", servicetest.Quiet, true
	client := jsonrpc2.NewClient(conn, &opts)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// passAll calls Slow.Wait from many goroutines, and opens the gate when all of
// them run.
func (s *site) passAll(t *testing.T, client *rpc.Client, callers int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			n, err := jsonrpc2.Call[int](context.Background(), client, "Slow.Wait", i)
			assert.NoError(t, err)
			assert.Equal(t, i, n)
		})
	}
	s.slow.RequireRunning(t, int64(callers))
	s.slow.Open()
	wg.Wait()
}

func TestKeepAlive(t *testing.T) {
	t.Parallel()
	const callers = 64
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	client := dial(t, connect(t, s.URL, nil))
	s.passAll(t, client, callers)
	require.EqualValues(t, callers, s.connections.Load(), "one for each caller")
	servicetest.RequireManyAdds(t, client, callers, 20)
	for range callers / 2 {
		require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Calc.Add", nil))
	}
	_, err := jsonrpc2.Call[int](t.Context(), client, "Calc.Gone", nil)
	require.ErrorContains(t, err, "method not found")
	servicetest.RequireAdds(t, client)
	// net/http gives a connection up that is slow to say that all was written. A busy machine may
	// make many slow at once.
	require.Less(t, s.connections.Load(), int64(callers*20/2), "not one for each of their calls")
}

// With batches, 64 callers need few connections.
func TestBatches(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	client := dial(t, jsonrpc2.Batch(connect(t, s.URL, nil), nil))
	servicetest.RequireManyAdds(t, client, 64, 20)
	require.Less(t, s.arrived.Load(), int64(64*20), "some travelled together")
	require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Calc.Add", nil))
	servicetest.RequireAdds(t, client)
}

// A roundTripper stands in for the network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestGivenClient(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	var trips atomic.Int64
	followed := func(*http.Request, []*http.Request) error { return nil }
	given := &http.Client{CheckRedirect: followed, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		trips.Add(1)
		return s.Client().Transport.RoundTrip(r)
	})}
	client := dial(t, connect(t, s.URL, &httpconn.DialOptions{Client: given}))
	servicetest.RequireAdds(t, client)
	require.NoError(t, client.Close())
	require.EqualValues(t, 1, trips.Load())
	require.NotNil(t, given.CheckRedirect)
	s.requireAdds(t)
	require.EqualValues(t, 1, s.connections.Load(), "the given client keeps its connections")
}

// A program may replace http.DefaultTransport, as tracing libraries do.
func TestOtherDefaultTransport(t *testing.T) {
	standard := http.DefaultTransport
	http.DefaultTransport = roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, fmt.Errorf("not to be used")
	})
	defer func() { http.DefaultTransport = standard }()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	servicetest.RequireAdds(t, dial(t, connect(t, s.URL, nil)))
}

type traceKey struct{}

func TestHeader(t *testing.T) {
	t.Parallel()
	headers := make(chan http.Header, 10)
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header
		s.handler.ServeHTTP(w, r)
	}))
	defer web.Close()
	opts := &httpconn.DialOptions{Header: func(ctx context.Context, header http.Header) {
		header.Set("Authorization", "Bearer token")
		if trace, ok := ctx.Value(traceKey{}).(string); ok {
			header.Set("Traceparent", trace)
		}
		header.Set("Content-Type", "application/json-rpc") // theirs, if they want
	}}
	for _, conn := range []jsonrpc2.ClientConn{connect(t, web.URL, opts), jsonrpc2.Batch(connect(t, web.URL, opts), nil)} {
		client := dial(t, conn)
		ctx := context.WithValue(t.Context(), traceKey{}, "00-1-2-01")
		_, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", nil)
		require.NoError(t, err)
		got := <-headers
		require.Equal(t, "Bearer token", got.Get("Authorization"))
		require.Equal(t, "00-1-2-01", got.Get("Traceparent"))
		require.Equal(t, "application/json-rpc", got.Get("Content-Type"))
		require.Equal(t, "application/json", got.Get("Accept"))

		servicetest.RequireAdds(t, client)
		require.Empty(t, (<-headers).Get("Traceparent"))
	}
}

// An oddSite answers calls of Calc.Odd by a function, others as it should.
type oddSite struct {
	*site
	web    *httptest.Server
	secret string // its URL with what must not be shown
}

func newOddSite(t *testing.T, odd http.HandlerFunc) *oddSite {
	t.Helper()
	s := &oddSite{site: newSite(t, nil, jsonrpc2.ServerOptions{})}
	s.web = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && bytes.Contains(body, []byte(`"odd"`)) {
			odd(w, r)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.handler.ServeHTTP(w, r)
	}))
	s.web.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.web.Start()
	t.Cleanup(s.web.Close)
	t.Cleanup(s.slow.Open)
	s.secret = "http://user:secret@" + s.web.Listener.Addr().String() + "/calc?token=secret#secret"
	return s
}

func (s *oddSite) requireFailure(t *testing.T, err, want error, says string) {
	t.Helper()
	requireFailure(t, err, want, "POST http://"+s.web.Listener.Addr().String()+"/calc: ", says)
}

// requireFailure requires an error that says what failed, and no secret.
func requireFailure(t *testing.T, err, want error, says ...string) {
	t.Helper()
	require.ErrorIs(t, err, want)
	require.True(t, strings.HasPrefix(err.Error(), want.Error()), err)
	for _, text := range says {
		require.ErrorContains(t, err, text)
	}
	require.NotContains(t, err.Error(), "secret")
	_, answered := jsonrpc2.AsError(err)
	require.False(t, answered, "%v", err)
}

// requireOddFails requires that a call of Calc.Odd fails, and that no other call under way
// does.
func (s *oddSite) requireOddFails(t *testing.T, client *rpc.Client, want error, says string) {
	t.Helper()
	running := client.Go("Slow.Wait", 7, new(int), nil)
	s.slow.RequireRunning(t, 1)
	_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Odd", nil)
	s.requireFailure(t, err, want, says)
	s.requireFailure(t, sentinelText{client.Call("Calc.Odd", nil, new(float64)), want}, want, says)
	servicetest.RequireAdds(t, client)
	s.slow.Open()
	require.NoError(t, (<-running.Done).Error)
	require.Equal(t, 7, *running.Reply.(*int))
}

// A sentinelText is the error of a plain client.Call: net/rpc keeps only the text.
type sentinelText struct {
	error
	sentinel error
}

func (e sentinelText) Is(target error) bool {
	return target == e.sentinel && strings.HasPrefix(e.Error(), target.Error())
}

// hijack writes a raw answer and cuts the connection.
func hijack(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, text)
			_ = conn.Close()
		}
	}
}

func status(code int, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for _, header := range headers {
			name, value, _ := strings.Cut(header, ": ")
			w.Header().Set(name, value)
		}
		w.WriteHeader(code)
	}
}

func body(contentType, text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{contentType}
		if contentType == "" {
			w.Header()["Content-Type"] = nil
		}
		_, _ = io.WriteString(w, text)
	}
}

func chunked(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.(http.Flusher).Flush()
		_, _ = io.WriteString(w, text)
	}
}

const head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

func TestFailures(t *testing.T) {
	t.Parallel()
	const limit = 1000
	for _, test := range []struct {
		name string
		odd  http.HandlerFunc
		want error
		says string
	}{
		{"500", status(500), jsonrpc2.ErrBadReply, "500 Internal Server Error: the body is empty"},
		{"400", status(400), jsonrpc2.ErrBadReply, "400 Bad Request"},
		{"401", status(401, `WWW-Authenticate: Basic realm="x"`), jsonrpc2.ErrUnavailable, `401 Unauthorized, WWW-Authenticate: Basic realm="x": the body is empty`},
		{"404", status(404), jsonrpc2.ErrNoServer, "404 Not Found"},
		{"413", status(413), jsonrpc2.ErrTooLarge, "413 Request Entity Too Large"},
		{"429", status(429, "Retry-After: 7"), jsonrpc2.ErrOverloaded, "429 Too Many Requests, Retry-After: 7"},
		{"503", status(503), jsonrpc2.ErrReplyLost, "503 Service Unavailable"},
		{"201", status(201), jsonrpc2.ErrBadReply, "201 Created"},
		{"204 for a call", status(204), jsonrpc2.ErrBadReply, "204 No Content"},
		{"301", status(301, "Location: /calc?secret"), jsonrpc2.ErrUnavailable, "301 Moved Permanently, a redirect"},
		{"302", status(302, "Location: http://127.0.0.1:1/?secret"), jsonrpc2.ErrUnavailable, "302 Found, a redirect"},
		{"307", status(307, "Location: /calc"), jsonrpc2.ErrUnavailable, "307 Temporary Redirect, a redirect"},
		{"308", status(308, "Location: /calc"), jsonrpc2.ErrUnavailable, "308 Permanent Redirect, a redirect"},
		{"304", status(304), jsonrpc2.ErrUnavailable, "304 Not Modified"},
		{"101", hijack("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n{}"), jsonrpc2.ErrBadReply, "101 Switching Protocols"},
		{"a status of its own", hijack("HTTP/1.1 599 \x01 x\xff (JSON-RPC error 7)\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"), jsonrpc2.ErrReplyLost, "599 \ufffd x\ufffd (JSON-RPC error 7): the body is empty"},
		{"500, cut", hijack("HTTP/1.1 500 x\r\nContent-Length: 9\r\n\r\n{}"), jsonrpc2.ErrReplyLost, "500 x: the body was cut off"},
		{"404, cut", hijack("HTTP/1.1 404 x\r\nContent-Length: 9\r\n\r\n{}"), jsonrpc2.ErrNoServer, "404 x: the body was cut off"},
		{"500, too large", hijack("HTTP/1.1 500 x\r\n\r\n{" + strings.Repeat(" ", limit)), jsonrpc2.ErrReplyTooLarge, "limit of 1000 bytes"},
		{"502, a large page", hijack("HTTP/1.1 502 x\r\n\r\n<p>" + strings.Repeat("-", limit)), jsonrpc2.ErrReplyLost, `502 x: "<p>--`},
		{"an announced length", hijack(head + "Content-Length: 9223372036854775807\r\n\r\n{"), jsonrpc2.ErrReplyLost, "cut off"},
		{"empty", status(200, "Content-Type: application/json"), jsonrpc2.ErrBadReply, "200 OK, application/json: the body is empty"},
		{"empty, chunked", chunked(""), jsonrpc2.ErrBadReply, "the body is empty"},
		{"blank", body("application/json", " \r\n"), jsonrpc2.ErrBadReply, "the body is empty"},
		{"HTML", body("text/html; charset=utf-8", "<html>"), jsonrpc2.ErrBadReply, `200 OK, text/html; charset=utf-8: "<html>"`},
		{"text", body("text/plain", `{"message":"hello"}`), jsonrpc2.ErrBadReply, `200 OK, no response to this call: "{\"message\":\"hello\"}"`},
		{"JSON, but no response", body("text/plain", `{"jsonrpc":"2.0"}`), jsonrpc2.ErrBadReply, "200 OK, no response to this call"},
		{"no type at all", body("/", "x"), jsonrpc2.ErrBadReply, `200 OK, /: "x"`},
		{"no JSON", body("application/json", "garbage"), jsonrpc2.ErrBadReply, `200 OK, application/json: "garbage"`},
		{"cut at once", hijack(""), jsonrpc2.ErrReplyLost, "EOF"},
		{"cut in the header", hijack(head[:30]), jsonrpc2.ErrReplyLost, "EOF"},
		{"cut before the body", hijack(head + "Content-Length: 5\r\n\r\n"), jsonrpc2.ErrReplyLost, "cut off"},
		{"cut in the body", hijack(head + "Content-Length: 50\r\n\r\n{"), jsonrpc2.ErrReplyLost, "cut off"},
		{"cut in a chunk", hijack(head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{"), jsonrpc2.ErrReplyLost, "cut off"},
		{"cut between chunks", hijack(head + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n"), jsonrpc2.ErrReplyLost, "cut off"},
		{"no HTTP", hijack("garbage\r\n\r\n"), jsonrpc2.ErrReplyLost, "malformed HTTP"},
		{"too large", body("application/json", strings.Repeat(" ", limit+1)), jsonrpc2.ErrReplyTooLarge, "limit of 1000 bytes"},
		{"too large, chunked", chunked(strings.Repeat(" ", limit+1)), jsonrpc2.ErrReplyTooLarge, "limit of 1000 bytes"},
		{"far too large", chunked(strings.Repeat(" ", 100*limit)), jsonrpc2.ErrReplyTooLarge, "limit of 1000 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newOddSite(t, test.odd)
			client := dialWith(t, connect(t, s.secret, nil), jsonrpc2.ClientOptions{MaxMessageSize: limit})
			s.requireOddFails(t, client, test.want, test.says)
		})
	}
}

// The codec judges what a body says. Its error names no URL.
func TestBrokenReply(t *testing.T) {
	t.Parallel()
	for _, text := range []string{`{"garbage"`, `{"jsonrpc":"2.0","result":`, `[{]`} {
		s := newOddSite(t, body("application/json", text))
		client := dial(t, connect(t, s.secret, nil))
		_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Odd", nil)
		requireFailure(t, err, jsonrpc2.ErrBadReply, "not valid JSON")
		servicetest.RequireAdds(t, client)
	}
}

// A server may have an error for a request whose id it did not find.
func TestNamelessError(t *testing.T) {
	t.Parallel()
	s := newOddSite(t, body("application/json", `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no batches"}}`))
	for _, conn := range []jsonrpc2.ClientConn{connect(t, s.secret, nil), jsonrpc2.Batch(connect(t, s.secret, nil), nil)} {
		client := dial(t, conn)
		_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Odd", nil)
		answer, ok := jsonrpc2.AsError(err)
		require.True(t, ok, "%v", err)
		require.Equal(t, &jsonrpc2.Error{Code: -32600, Message: "no batches"}, answer)
		servicetest.RequireAdds(t, client)
	}
}

func TestAnswersTaken(t *testing.T) {
	t.Parallel()
	for _, contentType := range []string{
		"", "application/json", "application/json; charset=utf-8", "application/json-rpc", "text/json", "application/vnd.api+json",
		"application/json; charset: utf-8", "text/html", "text/plain; charset=utf-8", "/", // the body is judged, not its label
	} {
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			request, _ := io.ReadAll(r.Body)
			_, id, _ := strings.Cut(string(request), `"id":"`)
			id, _, _ = strings.Cut(id, `"`)
			body(contentType, " \n{\"jsonrpc\":\"2.0\",\"id\":\""+id+"\",\"result\":6.1}\n ")(w, r)
		}))
		servicetest.RequireAdds(t, dial(t, connect(t, web.URL, nil)))
		web.Close()
	}
}

// A notification succeeds with any status of success. A failure is counted, as unsent if it is
// certain that nothing ran.
func TestNotifications(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		odd  http.HandlerFunc
		want notified
	}{
		"204":         {status(204), notified{}},
		"200":         {status(200), notified{}},
		"202":         {status(202), notified{}},
		"an answer":   {body("text/html", "<p>thanks</p>"), notified{}},
		"500":         {status(500), notified{unconfirmed: 1}},
		"a redirect":  {status(302, "Location: /"), notified{unsent: 1}},
		"cut at once": {hijack(""), notified{unconfirmed: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newOddSite(t, test.odd)
			stats := new(jsonrpc2.ClientStats)
			client := dialWith(t, connect(t, s.secret, nil), jsonrpc2.ClientOptions{Stats: stats})
			err := jsonrpc2.Notify(t.Context(), client, "Calc.Odd", nil)
			require.Equal(t, test.want == notified{}, err == nil, "%v", err)
			require.Equal(t, test.want, notifiedOf(stats))
			servicetest.RequireAdds(t, client)
			require.NoError(t, client.Close())
			require.Equal(t, test.want, notifiedOf(stats))
		})
	}
}

func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	s := newOddSite(t, nil)
	client := dial(t, connect(t, s.secret, nil))
	servicetest.RequireAdds(t, client)
	addr := s.web.Listener.Addr().String()
	s.web.Close()
	var err error
	servicetest.Eventually(t, func() bool { // until the end of the old connection was seen
		_, err = servicetest.Add(client, 1, 2)
		return !errors.Is(err, jsonrpc2.ErrReplyLost)
	})
	s.requireFailure(t, err, jsonrpc2.ErrUnavailable, "connection refused")

	listener, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	again := &http.Server{Handler: s.handler}
	go func() { _ = again.Serve(listener) }()
	defer again.Close()
	servicetest.RequireAdds(t, client) // it connects anew
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	insecure := httptest.NewUnstartedServer(http.NotFoundHandler())
	insecure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	insecure.StartTLS()
	defer insecure.Close()
	proxy, err := url.Parse("http://127.0.0.1:1")
	require.NoError(t, err)
	transport := &http.Transport{Proxy: http.ProxyURL(proxy)}
	for _, test := range []struct{ url, says string }{
		{"http://nobody.invalid/calc", "lookup nobody.invalid"},
		{"http://127.0.0.1:1/calc", "connection refused"},
		{"http://user:secret@127.0.0.1:1/calc?secret", "POST http://127.0.0.1:1/calc: "},
		{insecure.URL, "certificate"},
	} {
		_, err := servicetest.Add(dial(t, connect(t, test.url, nil)), 1, 2)
		requireFailure(t, err, jsonrpc2.ErrUnavailable, test.says)
	}
	through := connect(t, "https://nobody.invalid/calc", &httpconn.DialOptions{Client: &http.Client{Transport: transport}})
	_, err = servicetest.Add(dial(t, through), 1, 2)
	requireFailure(t, err, jsonrpc2.ErrUnavailable, "proxyconnect")
}

func TestBadURL(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		"", "/calc", "calc", "127.0.0.1:4567/calc", "http://", "http:///calc", "http:calc",
		"ftp://user:secret@h/calc", "redis://user:secret@h", "http://user:secret@h:port/", "http://h/%zz?secret",
		"http://us er:secret@h/", "http://h\x7f/secret",
	} {
		conn, err := httpconn.Dial(bad, nil)
		require.ErrorContains(t, err, "bad URL")
		require.NotContains(t, err.Error(), "secret")
		require.Nil(t, conn)
	}
}

// The end of a call ends its HTTP request, and no other.
func TestCallIsGivenUp(t *testing.T) {
	t.Parallel()
	for name, giveUp := range map[string]func(context.Context) (context.Context, context.CancelFunc){
		"canceled": context.WithCancel,
		"deadline": func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, unhurried) // in which it begins
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ended := make(chan struct{})
			began := make(chan struct{})
			s := newOddSite(t, func(_ http.ResponseWriter, r *http.Request) {
				close(began)
				<-r.Context().Done()
				close(ended)
			})
			client := dial(t, connect(t, s.secret, nil))
			other := client.Go("Slow.Wait", 7, new(int), nil)
			ctx, cancel := giveUp(t.Context())
			defer cancel()
			failed := make(chan error)
			go func() {
				_, err := jsonrpc2.Call[float64](ctx, client, "Calc.Odd", nil)
				failed <- err
			}()
			<-began
			if name == "canceled" {
				cancel()
			}
			err := <-failed
			<-ctx.Done() // the request's own may end first
			require.ErrorIs(t, err, ctx.Err())
			<-ended
			s.slow.Open()
			require.NoError(t, (<-other.Done).Error)
			servicetest.RequireAdds(t, client)
		})
	}
}

// The end of the client's Timeout ends the HTTP request, too.
func TestTimeout(t *testing.T) {
	t.Parallel()
	ended := make(chan struct{})
	s := newOddSite(t, func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		close(ended)
	})
	client := dialWith(t, connect(t, s.secret, nil), jsonrpc2.ClientOptions{Timeout: unhurried})
	require.ErrorContains(t, client.Call("Calc.Odd", nil, new(float64)), jsonrpc2.ErrTimeout.Error())
	<-ended
}

// A hanging is a client whose requests hang until they are canceled.
func hanging(t *testing.T) (*rpc.Client, *atomic.Int64) {
	conn, running := hangingConn(t)
	return dialWith(t, conn, jsonrpc2.ClientOptions{Timeout: time.Hour}), running
}

func TestCloseWithCallsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, running := hanging(t)
		var calls []*rpc.Call
		for range 64 {
			calls = append(calls, client.Go("Calc.Add", nil, new(float64), nil))
		}
		go jsonrpc2.Notify(t.Context(), client, "Calc.Add", nil)
		synctest.Wait()
		require.EqualValues(t, 65, running.Load())
		before := time.Now()
		closed := make(chan error)
		go func() { closed <- client.Close() }()
		for _, call := range calls {
			require.ErrorIs(t, (<-call.Done).Error, rpc.ErrShutdown)
		}
		require.Equal(t, before, time.Now(), "the callers need not wait")
		require.NoError(t, <-closed)
		require.LessOrEqual(t, time.Since(before), 2*time.Second)
		require.Zero(t, running.Load())
		require.ErrorIs(t, client.Call("Calc.Add", nil, nil), rpc.ErrShutdown)
	})
}

func TestCloseOfAnIdleConn(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	conn := connect(t, s.URL, nil)
	client := dial(t, conn)
	servicetest.RequireAdds(t, client)
	go jsonrpc2.Notify(t.Context(), client, "Slow.Wait", 7)
	s.slow.RequireRunning(t, 1)
	s.slow.Open()
	require.NoError(t, conn.Close())
	servicetest.Eventually(t, func() bool { return s.slow.Ran.Load() == 1 }, "what was handed over is sent")
	require.NoError(t, conn.Close())
	require.ErrorIs(t, conn.WriteRequest(jsonrpc2.NewRequest(t.Context(), []byte(add), jsonrpc2.Hooks{})), net.ErrClosed)
	_, err := conn.ReadReply(t.Context())
	require.ErrorIs(t, err, io.EOF)
}

// A request that is accepted beside Close is posted before Close returns, or never.
func TestCloseBesideWrites(t *testing.T) {
	t.Parallel()
	for range 2000 {
		var closed atomic.Bool
		conn := connect(t, "http://h/calc", &httpconn.DialOptions{Client: &http.Client{
			Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				assert.False(t, closed.Load())
				return nil, io.EOF
			}),
		}})
		require.NoError(t, conn.Open(jsonrpc2.Settings{MessageSize: jsonrpc2.DefaultMaxMessageSize, Lost: func([]byte, error) {}}))
		var writers sync.WaitGroup
		for range 4 {
			writers.Go(func() { _ = conn.WriteRequest(jsonrpc2.NewRequest(t.Context(), []byte(add), jsonrpc2.Hooks{})) })
		}
		require.NoError(t, conn.Close())
		closed.Store(true)
		writers.Wait()
	}
}

func TestOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, running := hanging(t)
		big := strings.Repeat("x", 1<<20)
		ctx, cancel := context.WithCancel(t.Context())
		var failed atomic.Int64
		for range 15 {
			go func() {
				_, err := jsonrpc2.Call[int](ctx, client, "Calc.Add", big)
				assert.ErrorIs(t, err, context.Canceled)
				failed.Add(1)
			}()
		}
		synctest.Wait()
		require.EqualValues(t, 15, running.Load())
		_, err := jsonrpc2.Call[int](t.Context(), client, "Calc.Add", big)
		requireFailure(t, err, jsonrpc2.ErrOverloaded, "http://h/calc")
		cancel()
		synctest.Wait()
		require.Zero(t, running.Load())
		require.EqualValues(t, 15, failed.Load())
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = jsonrpc2.Call[int](ctx, client, "Calc.Add", big)
		require.ErrorIs(t, err, jsonrpc2.ErrTimeout, "there is room again")
	})
}
