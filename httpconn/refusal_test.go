package httpconn_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
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

// newSiteBehind returns a site whose http.Server is configured.
func newSiteBehind(t *testing.T, opts *httpconn.ListenOptions, configure func(*http.Server)) *site {
	t.Helper()
	s := &site{service: serve(t, opts, jsonrpc2.ServerOptions{MaxInFlight: 8})}
	s.Server = httptest.NewUnstartedServer(s.handler)
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
	configure(s.Config)
	s.Start()
	t.Cleanup(s.Close)
	t.Cleanup(s.slow.Open) // or Close would wait for ever
	return s
}

// answerOn reads the answer to a request that was written to a connection.
func answerOn(t *testing.T, conn net.Conn) answer {
	t.Helper()
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(servicetest.Soon)))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	got := answer{response.StatusCode, response.Header, string(body)}
	if response.Close {
		got.header.Set("Connection", "close") // net/http takes it out
	}
	return got
}

func (a answer) requireRefused(t *testing.T, status int, why string) {
	t.Helper()
	require.Equal(t, status, a.status, a.body)
	require.Equal(t, "true", a.header.Get(httpconn.NotBegunHeader))
	require.Contains(t, a.body, why)
}

// A body that does not come in time is refused: net/http would send an empty 200.
func TestBodyComesTooLate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts      *httpconn.ListenOptions
		configure func(*http.Server)
	}{
		"ReadTimeout": {nil, func(s *http.Server) { s.ReadTimeout = unhurried }},
		"BodyTimeout": {&httpconn.ListenOptions{BodyTimeout: 300 * time.Millisecond}, func(*http.Server) {}},
		"ReadTimeout stands in for BodyTimeout": {&httpconn.ListenOptions{BodyTimeout: time.Hour},
			func(s *http.Server) { s.ReadTimeout = unhurried }},
		"behind a handler that wraps the writer": {&httpconn.ListenOptions{BodyTimeout: 300 * time.Millisecond}, func(s *http.Server) {
			inner := s.Handler
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(wrapper{w}, r) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSiteBehind(t, test.opts, test.configure)
			var slow []net.Conn
			for header, part := range map[string]string{
				"Content-Length: 50":         add[:20],
				"Content-Length: 51":         "",
				"Content-Length: 40000":      strings.Repeat(" ", 9000),
				"Transfer-Encoding: chunked": "14\r\n" + add[:20] + "\r\n",
			} {
				conn := s.dialRaw(t)
				_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n%s", header, part)
				require.NoError(t, err)
				slow = append(slow, conn)
			}
			for _, conn := range slow {
				got := answerOn(t, conn)
				got.requireRefused(t, http.StatusRequestTimeout, "too late")
				require.Equal(t, "close", got.header.Get("Connection"))
			}
			servicetest.EventuallyEqual(t, httpconn.ServerStats{Late: 4}, s.handler.Stats)
			s.requireAdds(t)
		})
	}
}

// A wrapper is a ResponseWriter without deadlines. The one that it wraps has them.
type wrapper struct{ http.ResponseWriter }

func (w wrapper) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// A request that is refused before its body is read does not wait for the body, either.
func TestRefusedBodyIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	s := newSiteBehind(t, &httpconn.ListenOptions{BodyTimeout: 300 * time.Millisecond}, func(*http.Server) {})
	conn := s.dialRaw(t)
	_, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: text/html\r\nContent-Length: 50\r\n\r\n")
	require.NoError(t, err)
	answerOn(t, conn).requireRefused(t, http.StatusUnsupportedMediaType, "application/json")
}

func TestHTTP2BodyComesTooLate(t *testing.T) {
	t.Parallel()
	for name, configure := range map[string]func(*http.Server) *httpconn.ListenOptions{
		"ReadTimeout": func(s *http.Server) *httpconn.ListenOptions {
			s.ReadTimeout = unhurried
			return nil
		},
		"BodyTimeout": func(*http.Server) *httpconn.ListenOptions {
			return &httpconn.ListenOptions{BodyTimeout: 300 * time.Millisecond}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			web := httptest.NewUnstartedServer(nil)
			s := serve(t, configure(web.Config), jsonrpc2.ServerOptions{})
			web.Config.Handler = s.handler
			web.EnableHTTP2 = true
			web.StartTLS()
			defer web.Close()
			body, w := io.Pipe()
			defer w.Close()
			go func() { _, _ = io.WriteString(w, add[:20]) }()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, web.URL, body)
			require.NoError(t, err)
			r.ContentLength = int64(len(add))
			response, err := web.Client().Do(r)
			require.NoError(t, err)
			defer response.Body.Close()
			require.Equal(t, 2, response.ProtoMajor)
			require.Equal(t, http.StatusRequestTimeout, response.StatusCode)
			require.Equal(t, "true", response.Header.Get(httpconn.NotBegunHeader))
			require.NoError(t, s.handler.Close())
		})
	}
}

// A time limit of the http.Server for reading a request does not end a method that has begun.
func TestMethodOutlastsReadTimeout(t *testing.T) {
	t.Parallel()
	const limit = unhurried
	s := newSiteBehind(t, nil, func(s *http.Server) { s.ReadTimeout = limit })
	conn := s.dialRaw(t)
	began := time.Now()
	begin(t, conn, len(pass), pass)
	s.slow.RequireRunning(t, 1)
	servicetest.Eventually(t, func() bool { return time.Since(began) > limit*3/2 })
	s.slow.Gate <- struct{}{}
	got := answerOn(t, conn)
	require.Equal(t, http.StatusOK, got.status, got.body)
	require.JSONEq(t, passed, got.body)

	begin(t, conn, len(add), add[:10]) // the next has a deadline again
	answerOn(t, conn).requireRefused(t, http.StatusRequestTimeout, "too late")
}

func TestBodyBreaks(t *testing.T) {
	t.Parallel()
	s := newSiteBehind(t, nil, func(s *http.Server) {
		inner := s.Handler
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/small" { // as a wrapper may have it
				r.Body = http.MaxBytesReader(w, r.Body, 10)
			}
			inner.ServeHTTP(w, r)
		})
	})
	for name, test := range map[string]struct {
		text   string
		status int
		why    string
	}{
		"cut":               {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n" + add[:20], 400, "broke off"},
		"cut at once":       {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n", 400, "broke off"},
		"cut chunk":         {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n" + add[:20], 400, "broke off"},
		"malformed chunks":  {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n", 400, "broke off"},
		"a wrapper's limit": {fmt.Sprintf("POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(add), add), 413, "limit of 10 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			conn := s.dialRaw(t)
			_, err := io.WriteString(conn, test.text)
			require.NoError(t, err)
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
			answerOn(t, conn).requireRefused(t, test.status, test.why)
		})
	}
	servicetest.EventuallyEqual(t, httpconn.ServerStats{Gone: 4, TooLarge: 1}, s.handler.Stats)
}

// A client that closes its sending side still reads: it gets the answer, or learns
// that there is none. net/http takes it for gone, and would send an empty 200.
func TestHalfClosed(t *testing.T) {
	t.Parallel()
	s := newSiteBehind(t, nil, func(*http.Server) {})
	t.Run("behind a slow method", func(t *testing.T) {
		conn := s.dialRaw(t)
		begin(t, conn, len(pass), pass)
		s.slow.RequireRunning(t, 1)
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		got := answerOn(t, conn)
		require.Equal(t, http.StatusGatewayTimeout, got.status)
		require.Empty(t, got.header.Get(httpconn.NotBegunHeader), "it runs")
		require.NotEmpty(t, got.body)
		s.slow.Gate <- struct{}{}
	})
	t.Run("behind a quick one", func(t *testing.T) {
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					conn, err := net.Dial("tcp", s.Listener.Addr().String())
					if !assert.NoError(t, err) {
						return
					}
					_, err = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(add), add)
					assert.NoError(t, err)
					assert.NoError(t, conn.(*net.TCPConn).CloseWrite())
					response, err := http.ReadResponse(bufio.NewReader(conn), nil)
					if !assert.NoError(t, err) {
						return
					}
					body, err := io.ReadAll(response.Body)
					assert.NoError(t, err)
					switch notBegun := response.Header.Get(httpconn.NotBegunHeader); response.StatusCode {
					case http.StatusOK:
						assert.JSONEq(t, added, string(body))
					case http.StatusGatewayTimeout:
						assert.Empty(t, notBegun)
					default:
						assert.Equal(t, http.StatusServiceUnavailable, response.StatusCode)
						assert.Equal(t, "true", notBegun)
					}
					_ = conn.Close()
				}
			})
		}
		wg.Wait()
	})
}

// A request whose context has ended is not begun, and not taken for done.
func TestContextEndsBeforeItBegins(t *testing.T) {
	t.Parallel()
	ended, end := context.WithCancel(context.Background())
	end()
	for name, configure := range map[string]func(*http.Server){
		"BaseContext": func(s *http.Server) { s.BaseContext = func(net.Listener) context.Context { return ended } },
		"middleware": func(s *http.Server) {
			inner := s.Handler
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { inner.ServeHTTP(w, r.WithContext(ended)) })
		},
		"a body that knows it": func(s *http.Server) {
			inner := s.Handler
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				r.Body = io.NopCloser(failing{ended.Err()})
				inner.ServeHTTP(w, r.WithContext(ended))
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSiteBehind(t, nil, configure)
			for _, body := range []string{pass, `{"jsonrpc":"2.0","method":"Slow.Wait"}`, "[" + pass + "]"} {
				s.post(t, body).requireRefused(t, http.StatusServiceUnavailable, "not begun")
			}
			require.Zero(t, s.slow.Running.Load())
			servicetest.EventuallyEqual(t, httpconn.ServerStats{Gone: 3}, s.handler.Stats)
			_, err := servicetest.Add(dial(t, connect(t, s.URL, nil)), 1, 2)
			requireFailure(t, err, jsonrpc2.ErrOverloaded, "not begun: context canceled")
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// An http.TimeoutHandler says 503 while the method runs: that is no promise that it does not.
func TestTimeoutHandler(t *testing.T) {
	t.Parallel()
	s := newSiteBehind(t, nil, func(s *http.Server) { s.Handler = http.TimeoutHandler(s.Handler, unhurried, "too slow") })
	client := dial(t, connect(t, s.URL, nil))
	servicetest.RequireAdds(t, client)
	_, err := jsonrpc2.Call[int](t.Context(), client, "Slow.Wait", 7)
	requireFailure(t, err, jsonrpc2.ErrReplyLost, "POST "+s.URL+": 50") // 503 of the one, or 504 of the other
	s.slow.Open()
	servicetest.Eventually(t, func() bool { return s.slow.Ran.Load() == 1 })
	servicetest.RequireAdds(t, client)
	require.EqualValues(t, 1, s.slow.Ran.Load())
}

// A handler around this one may refuse a request. The status then says that no method was
// called.
func TestAuthWrapper(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]error{401: jsonrpc2.ErrUnavailable, 403: jsonrpc2.ErrUnavailable, 429: jsonrpc2.ErrOverloaded} {
		s := newSiteBehind(t, nil, func(s *http.Server) {
			s.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "not you", status) })
		})
		_, err := servicetest.Add(dial(t, connect(t, s.URL, nil)), 1, 2)
		requireFailure(t, err, want, fmt.Sprint(status), "not you")
		require.Zero(t, s.handler.Stats())
	}
}

// Our client knows each refusal of our Handler for one.
func TestRefusalsOfOurHandler(t *testing.T) {
	t.Parallel()
	s := newSite(t, &httpconn.ListenOptions{BodyTimeout: unhurried}, jsonrpc2.ServerOptions{MaxMessageSize: 5000})
	full := newSite(t, &httpconn.ListenOptions{MaxWaiting: 4000}, jsonrpc2.ServerOptions{})

	with := func(change func(*http.Request)) *httpconn.DialOptions {
		return &httpconn.DialOptions{Client: &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			change(r)
			return s.Client().Transport.RoundTrip(r)
		})}}
	}
	header := func(name, value string) *httpconn.DialOptions {
		return with(func(r *http.Request) { r.Header.Set(name, value) })
	}
	for name, test := range map[string]struct {
		opts *httpconn.DialOptions
		size int
		want error
		says string
	}{
		"405":           {with(func(r *http.Request) { r.Method = http.MethodPut }), 0, jsonrpc2.ErrUnavailable, "405"},
		"403":           {header("Origin", "https://elsewhere.example"), 0, jsonrpc2.ErrUnavailable, "403"},
		"415":           {header("Content-Type", "text/html"), 0, jsonrpc2.ErrUnavailable, "415"},
		"406":           {header("Accept", "text/html"), 0, jsonrpc2.ErrUnavailable, "406"},
		"413":           {nil, 6000, jsonrpc2.ErrTooLarge, "limit of 5000 bytes"},
		"413, chunked":  {with(func(r *http.Request) { r.ContentLength = -1 }), 6000, jsonrpc2.ErrTooLarge, "limit of 5000 bytes"},
		"503, deadline": {header(httpconn.TimeoutHeader, "0"), 0, jsonrpc2.ErrOverloaded, "not begun"},
		"408":           {with(func(r *http.Request) { r.ContentLength++; r.Body = hangingBody{r.Body, r.Context()} }), 0, jsonrpc2.ErrUnavailable, "408"},
	} {
		t.Run(name, func(t *testing.T) {
			client := dialWith(t, connect(t, s.URL, test.opts), jsonrpc2.ClientOptions{})
			_, err := jsonrpc2.Call[string](t.Context(), client, "Calc.Add", strings.Repeat("x", test.size))
			requireFailure(t, err, test.want, "POST ", test.says)
		})
	}
	_, err := jsonrpc2.Call[string](t.Context(), dial(t, connect(t, full.URL, nil)), "Calc.Add", strings.Repeat("x", 4500))
	requireFailure(t, err, jsonrpc2.ErrOverloaded, "503", "too many bytes wait")
	s.end(t)
	_, err = servicetest.Add(dial(t, connect(t, s.URL, nil)), 1, 2)
	requireFailure(t, err, jsonrpc2.ErrOverloaded, "503", "shutting down")
}

// A hangingBody has an end that does not come.
type hangingBody struct {
	io.ReadCloser
	ctx context.Context
}

func (b hangingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF && n == 0 {
		<-b.ctx.Done()
		return 0, b.ctx.Err()
	}
	return n, nil
}

// Of a batch a part may have begun when its context ends.
func TestBatchHasBegun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, nil, jsonrpc2.ServerOptions{MaxInFlight: 1})
		v := visitOf(s.handler, "["+pass+","+pass+"]")
		v.requireWaiting(t)
		v.hangUp()
		v.requireDone(t)
		require.Equal(t, http.StatusGatewayTimeout, v.Code)
		require.Empty(t, v.Header().Get(httpconn.NotBegunHeader))
		s.slow.Open()
		s.end(t)
		require.EqualValues(t, 1, s.slow.Ran.Load())
		servicetest.EventuallyEqual(t, httpconn.ServerStats{Requests: 1}, s.handler.Stats)
	})
}

// An answer that is ready is sent, though the context has ended, too.
func TestReadyAnswerIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 100 {
			handler := listen(t, nil)
			v := visitOf(handler, add)
			d, err := handler.ReadRequest(t.Context())
			require.NoError(t, err)
			v.requireWaiting(t)
			require.NoError(t, d.Reply([]byte(added)))
			v.hangUp()
			v.requireAnswer(t, added)
		}
	})
}

// A panic on the way leaves nothing reserved.
func TestBodyPanics(t *testing.T) {
	t.Parallel()
	s := serve(t, &httpconn.ListenOptions{MaxWaiting: int64(len(add))}, jsonrpc2.ServerOptions{})
	for range 3 {
		r := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader(add), panicking{}))
		require.Panics(t, func() { s.handler.ServeHTTP(httptest.NewRecorder(), r) })
	}
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(add)))
	require.JSONEq(t, added, w.Body.String())
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic(http.ErrAbortHandler) }

// Connections that announce a body and trickle it keep nobody out, cost no memory
// by what they announce, and end.
func TestTricklingBodies(t *testing.T) {
	t.Parallel()
	const connections = 1100
	opts := &httpconn.ListenOptions{MaxWaiting: 1 << 20, BodyTimeout: 3 * time.Second}
	var reading atomic.Int64
	s := newSiteBehind(t, opts, func(server *http.Server) {
		inner := server.Handler
		server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			reading.Add(1)
			inner.ServeHTTP(w, r)
		})
	})
	begun := time.Now()
	var wg sync.WaitGroup
	var late atomic.Int64
	for range connections {
		conn := s.dialRaw(t)
		begin(t, conn, 65536, "[")
		wg.Go(func() {
			stop := make(chan struct{})
			wg.Go(func() {
				tick := time.NewTicker(500 * time.Millisecond)
				defer tick.Stop()
				for {
					select {
					case <-tick.C:
						_, _ = io.WriteString(conn, " ") // until it is closed
					case <-stop:
						return
					}
				}
			})
			defer close(stop)
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				return
			}
			_ = response.Body.Close()
			if response.StatusCode == http.StatusRequestTimeout && response.Close {
				late.Add(1)
			}
		})
	}
	servicetest.Eventually(t, func() bool { return reading.Load() == connections })
	s.requireAdds(t)
	if time.Since(begun) < opts.BodyTimeout { // else some have ended meanwhile
		require.Zero(t, s.handler.Stats().Busy)
	}
	wg.Wait()
	require.EqualValues(t, connections, s.handler.Stats().Late)
	require.Greater(t, late.Load(), int64(connections/2), "most can read why: a byte that comes later resets the connection")
	s.requireAdds(t)
}
