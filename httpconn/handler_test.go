package httpconn_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestMethods(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	methods := []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post"}
	for _, method := range methods {
		r := request(t, s.URL, add)
		r.Method = method
		got := s.do(t, r)
		require.Equal(t, http.StatusMethodNotAllowed, got.status, method)
		require.Equal(t, "POST", got.header.Get("Allow"), method)
		require.Equal(t, "true", got.header.Get(httpconn.NotBegunHeader), method)
	}
	servicetest.EventuallyEqual(t, httpconn.ServerStats{Refused: int64(len(methods))}, s.handler.Stats)
	s.requireAdds(t)
}

// An answer of JSON-RPC, also an error, has status 200.
func TestAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{MaxDepth: 10})
	for _, test := range []struct{ name, body, result, code string }{
		{"a call", add, "6.1", ""},
		{"null id", `{"jsonrpc":"2.0","id":null,"method":"add","params":[1,2]}`, "3", ""},
		{"no such method", `{"jsonrpc":"2.0","id":1,"method":"gone"}`, "", "-32601"},
		{"wrong params", `{"jsonrpc":"2.0","id":1,"method":"add","params":["x"]}`, "", "-32602"},
		{"no request", `{"jsonrpc":"2.0","id":1}`, "", "-32600"},
		{"an empty batch", `[]`, "", "-32600"},
		{"too deep", strings.Repeat(`[`, 20) + strings.Repeat(`]`, 20), "", "-32600"},
		{"garbage", `garbage`, "", "-32700"},
		{"a form", `jsonrpc=2.0&id=1&method=add`, "", "-32700"},
		{"a part", add[:20], "", "-32700"},
		{"nothing", ``, "", "-32700"},
		{"blanks", " \r\n", "", "-32700"},
	} {
		got := s.post(t, test.body)
		require.Equal(t, http.StatusOK, got.status, test.name)
		require.Equal(t, "application/json", got.header.Get("Content-Type"), test.name)
		var answer struct {
			Result json.Number
			Error  struct{ Code json.Number }
		}
		require.NoError(t, json.Unmarshal([]byte(got.body), &answer), "%s: %s", test.name, got.body)
		require.Equal(t, test.result, answer.Result.String(), test.name)
		require.Equal(t, test.code, answer.Error.Code.String(), test.name)
	}
}

func TestNothingToAnswer(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	notification := `{"jsonrpc":"2.0","method":"add","params":[1,2]}`
	for _, body := range []string{
		notification,
		`{"jsonrpc":"2.0","method":"gone"}`,
		`{"jsonrpc":"2.0","method":"add","params":["x"]}`,
		"[" + notification + "]",
		"[" + notification + "," + notification + "]",
		`{"jsonrpc":"2.0","id":1,"result":5}`,
	} {
		got := s.post(t, body)
		require.Equal(t, http.StatusNoContent, got.status, body)
		require.Empty(t, got.body)
		require.Empty(t, got.header.Get("Content-Type"))
	}
}

func TestContentType(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	for contentType, served := range map[string]bool{
		"":                                  true,
		"application/json":                  true,
		"application/json; charset=utf-8":   true,
		"application/json;charset=UTF-8":    true,
		"Application/JSON":                  true,
		"application/json; charset":         true,
		"application/json-rpc":              true,
		"application/jsonrequest":           true,
		"application/vnd.api+json":          true,
		"text/json":                         true,
		"application/x-www-form-urlencoded": true,
		"application/x-www-form-urlencoded; charset=UTF-8": true,

		"text/plain":                       false,
		"text/plain; charset=utf-8":        false,
		"text/html":                        false,
		"application/xml":                  false,
		"application/octet-stream":         false,
		"application/json5":                false,
		"multipart/form-data; boundary=xx": false,
		"json":                             false,
		"/":                                false,
		"; charset=utf-8":                  false,
	} {
		var headers []string
		if contentType != "" {
			headers = append(headers, "Content-Type: "+contentType)
		}
		requireServed(t, s, served, http.StatusUnsupportedMediaType, headers...)
	}
	requireServed(t, s, true, 0, "Content-Encoding: identity")
	for _, encoding := range []string{"gzip", "deflate", "br", "gzip, identity"} {
		requireServed(t, s, false, http.StatusUnsupportedMediaType, "Content-Encoding: "+encoding)
	}
}

// requireServed requires that a request with such headers is served, or refused
// with a status.
func requireServed(t *testing.T, s *site, served bool, refusal int, headers ...string) {
	t.Helper()
	got := s.post(t, add, headers...)
	if served {
		require.Equal(t, http.StatusOK, got.status, "%q: %s", headers, got.body)
		require.JSONEq(t, added, got.body)
		return
	}
	require.Equal(t, refusal, got.status, "%q: %s", headers, got.body)
	require.NotEmpty(t, got.body, "says why")
	require.Equal(t, "true", got.header.Get(httpconn.NotBegunHeader), "%q", headers)
}

func TestAccept(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	for _, test := range []struct {
		accept []string // each a line
		served bool
	}{
		{nil, true},
		{[]string{""}, true},
		{[]string{"application/json"}, true},
		{[]string{"application/json; charset=utf-8"}, true},
		{[]string{"application/json;q=0.1"}, true},
		{[]string{"APPLICATION/JSON"}, true},
		{[]string{"application/json-rpc, application/json, application/jsonrequest"}, true},
		{[]string{"application/problem+json"}, true},
		{[]string{"*/*"}, true},
		{[]string{"application/*"}, true},
		{[]string{"text/html, image/gif, image/jpeg, *; q=.2, */*; q=.2"}, true},
		{[]string{"text/html;q=0.9,*/*;q=0.8"}, true},
		{[]string{"text/html", "application/json"}, true},

		{[]string{"text/html"}, false},
		{[]string{"text/*"}, false},
		{[]string{"text/html, image/*;q=0.5"}, false},
		{[]string{"application/xml"}, false},
		{[]string{"application/json;q=0"}, false},
		{[]string{"*/*;q=0.000"}, false},
		{[]string{"text/html", "image/png"}, false},
	} {
		var headers []string
		for _, line := range test.accept {
			headers = append(headers, "Accept: "+line)
		}
		requireServed(t, s, test.served, http.StatusNotAcceptable, headers...)
	}
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	const limit = 100
	s := newSite(t, nil, jsonrpc2.ServerOptions{MaxMessageSize: limit})
	sized := func(n int) string { return add + strings.Repeat(" ", n-len(add)) }
	for name, reader := range map[string]func(string) io.Reader{
		"Content-Length": func(body string) io.Reader { return strings.NewReader(body) },
		"chunked":        func(body string) io.Reader { return io.MultiReader(strings.NewReader(body)) },
	} {
		for size, want := range map[int]int{
			limit:      http.StatusOK,
			limit + 1:  http.StatusRequestEntityTooLarge,
			1_000_000:  http.StatusRequestEntityTooLarge,
			10_000_000: http.StatusRequestEntityTooLarge,
		} {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, reader(sized(size)))
			require.NoError(t, err)
			response, err := s.Client().Do(r)
			require.NoError(t, err, name)
			require.Equal(t, want, response.StatusCode, "%s, %d bytes", name, size)
			require.Equal(t, want != http.StatusOK, response.Header.Get(httpconn.NotBegunHeader) == "true")
			require.NoError(t, response.Body.Close())
		}
	}
	servicetest.EventuallyEqual(t, httpconn.ServerStats{Requests: 2, Replies: 2, TooLarge: 6}, s.handler.Stats)
	s.requireAdds(t)
}

func TestCrossOrigin(t *testing.T) {
	t.Parallel()
	strict := newSite(t, nil, jsonrpc2.ServerOptions{})
	open := newSite(t, &httpconn.ListenOptions{AllowCrossOrigin: true}, jsonrpc2.ServerOptions{})
	for _, test := range []struct {
		headers []string
		foreign bool
	}{
		{[]string{"Sec-Fetch-Site: cross-site"}, true},
		{[]string{"Sec-Fetch-Site: same-site"}, true},
		{[]string{"Sec-Fetch-Site: cross-site", "Content-Type: application/x-www-form-urlencoded"}, true},
		{[]string{"Origin: https://elsewhere.example"}, true},
		{[]string{"Origin: null"}, true},
		{[]string{"Origin: " + strict.URL}, false},
		{[]string{"Sec-Fetch-Site: same-origin"}, false},
		{[]string{"Sec-Fetch-Site: none"}, false},
		{nil, false},
	} {
		requireServed(t, strict, !test.foreign, http.StatusForbidden, test.headers...)
		requireServed(t, open, true, 0, test.headers...)
	}
	require.EqualValues(t, 5, strict.handler.Stats().Refused)
}

// The Handler is mounted before it is served, so that requests may come while
// the codec tells it its limits.
func TestRequestsWhileServingBegins(t *testing.T) {
	t.Parallel()
	handler := listen(t, nil)
	web := httptest.NewServer(handler)
	defer web.Close()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			response, err := web.Client().Post(web.URL, "", strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"x"}`))
			if err == nil {
				_ = response.Body.Close()
			}
		})
	}
	ctx, drain := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- jsonrpc2.Serve(ctx, nil, handler, nil) }()
	wg.Wait()
	drain()
	require.NoError(t, <-served)
	require.EqualValues(t, 10, handler.Stats().Replies)
}

func TestSeveralHandlers(t *testing.T) {
	t.Parallel()
	first := serve(t, nil, jsonrpc2.ServerOptions{})
	second := serve(t, nil, jsonrpc2.ServerOptions{MaxBatch: 1})
	mux := http.NewServeMux()
	mux.Handle("/calc", first.handler)
	mux.Handle("POST /v2/{tenant}/calc", second.handler)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "fine") })
	s := &site{service: first, Server: httptest.NewServer(mux)}
	defer s.Close()

	batch := "[" + add + "," + add + "]"
	require.JSONEq(t, "["+added+","+added+"]", s.do(t, request(t, s.URL+"/calc", batch)).body)
	require.Contains(t, s.do(t, request(t, s.URL+"/v2/us/calc", batch)).body, "-32600")
	require.Equal(t, http.StatusNotFound, s.do(t, request(t, s.URL, add)).status)
	r := request(t, s.URL+"/health", "")
	r.Method = http.MethodGet
	require.Equal(t, "fine", s.do(t, r).body)

	first.end(t)
	require.Equal(t, http.StatusServiceUnavailable, s.do(t, request(t, s.URL+"/calc", add)).status)
	require.JSONEq(t, added, s.do(t, request(t, s.URL+"/v2/us/calc", add)).body)
}

// The gauges of both ends tell what is under way.
func TestGauges(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{MaxInFlight: 1})
	conn := connect(t, s.URL, nil)
	client := dial(t, conn)
	first := client.Go("Slow.Wait", 7, new(int), nil)
	s.slow.RequireRunning(t, 1)
	second := client.Go("Slow.Wait", 7, new(int), nil)
	here := conn.Stats()
	require.EqualValues(t, 2, here.Requests)
	require.EqualValues(t, 2, here.InFlight)
	there := httpconn.ServerStats{Requests: 1, InFlight: 2, Bytes: here.Bytes / 2}
	servicetest.EventuallyEqual(t, there, s.handler.Stats, "one of them waits for its place")
	s.slow.Open()
	require.NoError(t, (<-first.Done).Error)
	require.NoError(t, (<-second.Done).Error)
	servicetest.EventuallyEqual(t, httpconn.ClientStats{Requests: 2}, conn.Stats)
	servicetest.EventuallyEqual(t, httpconn.ServerStats{Requests: 2, Replies: 2}, s.handler.Stats)
}

func TestHandlerStats(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{MaxMessageSize: 100})
	require.Zero(t, s.handler.Stats())
	s.requireAdds(t)
	s.post(t, "garbage")
	s.post(t, `{"jsonrpc":"2.0","method":"add"}`)
	s.post(t, add, "Content-Type: text/plain")
	s.post(t, add, "Accept: text/plain")
	s.post(t, add, "Origin: https://elsewhere.example")
	s.post(t, strings.Repeat(" ", 101))
	s.end(t)
	s.post(t, add)
	want := httpconn.ServerStats{Requests: 3, Replies: 3, Refused: 3, TooLarge: 1, Busy: 1}
	servicetest.EventuallyEqual(t, want, s.handler.Stats)
}

func TestBadListenOptions(t *testing.T) {
	t.Parallel()
	for says, opts := range map[string]*httpconn.ListenOptions{
		"MaxWait is -1s, less than 0":   {MaxWait: -time.Second},
		"MaxWaiting is -1, less than 0": {MaxWaiting: -1},
	} {
		handler, err := httpconn.Listen(opts)
		require.EqualError(t, err, "httpconn: "+says)
		require.Nil(t, handler)
	}
}

// A brokenWriter is one whose client has gone when the answer is written.
type brokenWriter struct{ *httptest.ResponseRecorder }

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// An answer that can't be written is counted.
func TestAnswerIsLost(t *testing.T) {
	t.Parallel()
	stats := new(jsonrpc2.ServerStats)
	s := serve(t, nil, jsonrpc2.ServerOptions{Stats: stats})
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(add))
	s.handler.ServeHTTP(brokenWriter{httptest.NewRecorder()}, r)
	require.EqualValues(t, 1, stats.Snapshot().LostReplies)
	visit := httptest.NewRecorder()
	s.handler.ServeHTTP(visit, httptest.NewRequest(http.MethodPost, "/", strings.NewReader(add)))
	require.JSONEq(t, added, visit.Body.String())
	require.EqualValues(t, 1, stats.Snapshot().LostReplies)
}
