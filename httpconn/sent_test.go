package httpconn_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// rawServer hands each connection to a function, and closes it after that.
func rawServer(t *testing.T, serve func(net.Conn)) (addr string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer conn.Close()
				serve(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		serving.Wait()
	})
	return listener.Addr().String()
}

// answering answers a request's header with a text.
func answering(text string) func(net.Conn) {
	return func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, text)
		}
	}
}

// silent answers nothing, until the other side hangs up.
func silent(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }

// newTLSServer returns a server that serves nothing, with a certificate that nobody
// knows.
func newTLSServer(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// requireCallFails requires that a call over conn fails, and so does a batched one.
func requireCallFails(t *testing.T, dialed func() jsonrpc2.ClientConn, want error, says string) {
	t.Helper()
	for _, conn := range []jsonrpc2.ClientConn{dialed(), jsonrpc2.Batch(dialed(), nil)} {
		_, err := servicetest.Add(dialWith(t, conn, jsonrpc2.ClientOptions{Timeout: -1}), 1, 2)
		requireFailure(t, err, want, "POST ", says)
	}
}

// If something fails before there is a connection for the request, nothing was sent.
func TestNothingWasSent(t *testing.T) {
	t.Parallel()
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	foreign := newTLSServer(t)
	through := func(answer string) *http.Transport {
		proxy := &url.URL{Scheme: "http", User: url.UserPassword("user", "secret"), Host: rawServer(t, answering(answer))}
		return &http.Transport{Proxy: http.ProxyURL(proxy)}
	}
	tested := make(chan struct{}) // net/http dials on when nobody waits for it
	defer close(tested)
	hanging := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		<-tested
		return nil, errors.New("hung")
	}}
	for name, test := range map[string]struct {
		url    string
		client *http.Client // nil: both our own, and one that is given
		says   string
	}{
		"refused port":           {"http://127.0.0.1:1/", nil, "connection refused"},
		"unknown host":           {"http://nobody.invalid/", nil, "lookup nobody.invalid"},
		"TLS to a plain port":    {"https://" + plain.Listener.Addr().String(), nil, ""}, // a Client words it in its own way
		"unknown certificate":    {foreign.URL, nil, "certificate"},
		"hanging TLS handshake":  {"https://" + rawServer(t, silent), &http.Client{Transport: &http.Transport{TLSHandshakeTimeout: 50 * time.Millisecond}}, "TLS handshake timeout"},
		"proxy says 403":         {"https://h/", &http.Client{Transport: through("HTTP/1.1 403 Forbidden\r\n\r\n")}, "Forbidden"},
		"proxy says 407":         {"https://h/", &http.Client{Transport: through("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")}, "Proxy Authentication Required"},
		"proxy hangs up":         {"https://h/", &http.Client{Transport: through("")}, "EOF"},
		"proxy speaks no HTTP":   {"https://h/", &http.Client{Transport: through("SSH-2.0\r\n\r\n")}, "malformed HTTP"},
		"timeout while it dials": {"http://h/", &http.Client{Transport: hanging, Timeout: 50 * time.Millisecond}, "Client.Timeout"},
		"protocol error of TLS": {foreign.URL, &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS11}}}, "protocol version"},
	} {
		t.Run(name, func(t *testing.T) {
			given := test.client
			if given == nil {
				requireCallFails(t, func() jsonrpc2.ClientConn { return connect(t, test.url, nil) }, jsonrpc2.ErrUnavailable, test.says)
				given = &http.Client{Transport: new(http.Transport)}
			}
			dialed := func() jsonrpc2.ClientConn { return connect(t, test.url, &httpconn.DialOptions{Client: given}) }
			requireCallFails(t, dialed, jsonrpc2.ErrUnavailable, test.says)
		})
	}
}

// If something fails later, the request may have run.
func TestSomethingMayHaveBeenSent(t *testing.T) {
	t.Parallel()
	secure := newTLSServer(t)
	elsewhere := new(http.Transport) // sends our requests by something that traces nothing
	elsewhere.RegisterProtocol("http", roundTripper(func(r *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, r.Body)
		return nil, errors.New("lost")
	}))
	for name, test := range map[string]struct {
		url    string
		client *http.Client
		want   error
		says   string
	}{
		"plain to a TLS port": {"http://" + secure.Listener.Addr().String(), nil, jsonrpc2.ErrBadReply, `400 Bad Request: "Client sent an HTTP request to an HTTPS server."`},
		"hangs up":            {"http://" + rawServer(t, answering("")), nil, jsonrpc2.ErrReplyLost, "EOF"},
		"client's timeout":    {"http://" + rawServer(t, silent), &http.Client{Timeout: unhurried}, jsonrpc2.ErrTimeout, "Client.Timeout"},
		"another protocol":    {"http://h/", &http.Client{Transport: elsewhere}, jsonrpc2.ErrReplyLost, "lost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireCallFails(t, func() jsonrpc2.ClientConn {
				return connect(t, test.url, &httpconn.DialOptions{Client: test.client})
			}, test.want, test.says)
		})
	}
}

// A RoundTripper that is not net/http's may have sent a request if it has read the body: r.Body,
// or another one from GetBody.
func TestRoundTripperFails(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		read func(*http.Request)
		want error
	}{
		"before it reads": {func(r *http.Request) { _ = r.Body.Close() }, jsonrpc2.ErrUnavailable},
		"after it read":   {func(r *http.Request) { _, _ = io.ReadAll(r.Body) }, jsonrpc2.ErrReplyLost},
		"after a byte":    {func(r *http.Request) { _, _ = r.Body.Read(make([]byte, 1)) }, jsonrpc2.ErrReplyLost},
		"after it read a copy": {func(r *http.Request) {
			body, _ := r.GetBody()
			_, _ = io.ReadAll(body)
		}, jsonrpc2.ErrReplyLost},
		"again": {func(r *http.Request) {
			_, _ = io.ReadAll(r.Body)
			_, _ = r.GetBody() // and fails before it reads that
		}, jsonrpc2.ErrReplyLost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				test.read(r)
				return nil, errors.New("broken")
			})}
			requireCallFails(t, func() jsonrpc2.ClientConn {
				return connect(t, "http://h/", &httpconn.DialOptions{Client: client})
			}, test.want, "broken")
		})
	}
}

// A brokenConn fails each write from the second request on.
type brokenConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c brokenConn) Write(p []byte) (int, error) {
	if c.writes.Add(1) > 1 {
		return 0, errors.New("broken pipe")
	}
	return c.Conn.Write(p)
}

// A request that net/http tries again, since nothing of it was sent, counts as unsent until
// there is another connection.
func TestNothingWasSentAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	var writes, dials atomic.Int64
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dials.Add(1) > 1 {
			return nil, errors.New("no second connection")
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return brokenConn{conn, &writes}, err
	}}
	client := dial(t, connect(t, s.URL, &httpconn.DialOptions{Client: &http.Client{Transport: transport}}))
	servicetest.RequireAdds(t, client)
	_, err := servicetest.Add(client, 1, 2)
	requireFailure(t, err, jsonrpc2.ErrUnavailable, "no second connection")
	require.EqualValues(t, 2, dials.Load())
}

// A trace in the caller's context works, too.
func TestTraceOfTheCaller(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	refused := dial(t, connect(t, "http://127.0.0.1:1/", nil))
	client := dial(t, connect(t, s.URL, nil))
	var began, got atomic.Int64
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		GetConn: func(string) { began.Add(1) },
		GotConn: func(httptrace.GotConnInfo) { got.Add(1) },
	})
	for range 2 {
		_, err := jsonrpc2.Call[float64](ctx, client, "Calc.Add", nil)
		require.NoError(t, err)
		_, err = jsonrpc2.Call[float64](ctx, refused, "Calc.Add", nil)
		requireFailure(t, err, jsonrpc2.ErrUnavailable, "refused")
	}
	require.EqualValues(t, 4, began.Load())
	require.EqualValues(t, 2, got.Load())
}
