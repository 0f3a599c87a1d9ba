package httpconn_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/fuzztest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// bodies are seeds: what a request or an answer may hold.
var bodies = []string{
	add, added, ``, ` `, "\x00", "\xff", `null`, `[]`, `[[]]`, `[` + add + `,1]`, `{"jsonrpc":"2.0","method":"add"}`, `{"id":`,
	strings.Repeat(`[`, 1000), strings.Repeat(` `, 5000), `{"jsonrpc":"2.0","id":null,"error":{"code":1}}`, `{"id":1,"id":1}`,
}

// FuzzHandler posts anything under any header: the answer is JSON, or says by its
// status that there is none, and never that the server failed.
func FuzzHandler(f *testing.F) {
	fuzztest.AddSeeds(f)
	for _, body := range bodies {
		f.Add("POST", "", "", "", "", body, int64(-1))
		f.Add("POST", "application/json; charset=utf-8", "text/*, */*;q=0.1", "", "", body, int64(len(body)))
	}
	f.Add("GET", "a/b", "application/json;q=0", "gzip", "http://elsewhere", add, int64(1<<40))
	f.Add("POST", "application/x-www-form-urlencoded", ";q=x,", "identity", "null", add, int64(3))
	server := rpc.NewServer()
	require.NoError(f, server.Register(calc.Calc{}))
	handler := listen(f, nil)
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- jsonrpc2.Serve(ctx, server, handler, &jsonrpc2.ServerOptions{Service: "Calc", Logger: servicetest.Quiet, MaxMessageSize: 4096})
	}()
	f.Cleanup(func() {
		drain()
		require.NoError(f, <-done)
	})
	f.Fuzz(func(t *testing.T, method, contentType, accept, encoding, origin, body string, length int64) {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/calc", nil)
		r.Method, r.ContentLength = method, max(length, -1) // as net/http has it
		r.Body = io.NopCloser(strings.NewReader(body))
		r.Header = http.Header{}
		for name, value := range map[string]string{
			"Content-Type": contentType, "Accept": accept, "Content-Encoding": encoding, "Origin": origin, "Sec-Fetch-Site": origin,
		} {
			if value != "" {
				r.Header[name] = strings.Split(value, "\n")
			}
		}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		require.True(t, w.Code < 500 || w.Code == http.StatusServiceUnavailable, "%d", w.Code)
		switch text := w.Body.Bytes(); w.Code {
		case http.StatusOK:
			require.True(t, json.Valid(text) && utf8.Valid(text), "%q", text)
			require.Equal(t, "application/json", w.Header().Get("Content-Type"))
			require.Equal(t, strconv.Itoa(len(text)), w.Header().Get("Content-Length"))
		case http.StatusNoContent:
			require.Empty(t, text)
		default:
			require.Equal(t, "true", w.Header().Get(httpconn.NotBegunHeader))
			require.NotEmpty(t, text, "says why")
		}
	})
}

// FuzzClient answers a call with any status, header and body, in which ID stands
// for its id: the call ends, and the next one is answered.
func FuzzClient(f *testing.F) {
	fuzztest.AddSeeds(f)
	for _, body := range bodies {
		f.Add(200, "application/json", "", body, int64(-1))
		f.Add(404, "text/html", "", body, int64(len(body)))
	}
	f.Add(200, "", "", `{"jsonrpc":"2.0","id":ID,"result":6.1}`, int64(-1))
	f.Add(200, "application/problem+json", "", `[{"id":ID,"error":{"code":"x"}},{"id":ID,"result":1}]`, int64(3))
	f.Add(200, "application/json", "", `{"id":ID}`, int64(1<<40))
	f.Add(302, "x", "http://elsewhere/", `{"id":ID,"error":null,"result":null}`, int64(0))
	f.Fuzz(func(t *testing.T, status int, contentType, location, body string, length int64) {
		odd := true
		conn := connect(t, "http://there/calc", &httpconn.DialOptions{Client: &http.Client{
			Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
				id := idOf(t, r)
				answer := &http.Response{StatusCode: status, Header: http.Header{}, ContentLength: max(length, -1)}
				text := strings.ReplaceAll(body, "ID", id)
				answer.Header["Content-Type"], answer.Header["Location"] = []string{contentType}, []string{location}
				if !odd {
					text = `{"jsonrpc":"2.0","id":` + id + `,"result":6.1}`
					answer = &http.Response{StatusCode: 200, ContentLength: -1}
				}
				answer.Body = io.NopCloser(strings.NewReader(text))
				return answer, nil
			}),
		}})
		const limit = 20 * time.Second // for a call
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc", Logger: servicetest.Quiet, Timeout: limit, MaxMessageSize: 4096})
		defer client.Close()
		begin := time.Now()
		_, err := servicetest.Add(client, 1, 5.1)
		if err != nil {
			require.NotErrorIs(t, err, jsonrpc2.ErrTimeout, "answered with what no call waits for")
		}
		require.Less(t, time.Since(begin), limit)
		odd = false
		sum, err := servicetest.Add(client, 1, 5.1)
		require.NoError(t, err)
		require.Equal(t, 6.1, sum)
	})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// idOf returns the id of a request, as it is in its text.
func idOf(t *testing.T, r *http.Request) string {
	body, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	var request struct{ ID json.RawMessage }
	require.NoError(t, json.NewDecoder(bytes.NewReader(body)).Decode(&request))
	return string(request.ID)
}
