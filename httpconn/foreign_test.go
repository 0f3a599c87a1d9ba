package httpconn_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/rubytest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A response is one that another program got.
type response struct {
	JSONRPC string
	ID      json.RawMessage
	Result  *float64
	Error   *struct{ Code int64 }
}

func parse(t *testing.T, text string) (r response) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &r), text)
	require.Equal(t, "2.0", r.JSONRPC, text)
	return r
}

func requireResult(t *testing.T, want float64, text string) {
	t.Helper()
	r := parse(t, text)
	require.Nil(t, r.Error, text)
	require.NotNil(t, r.Result, text)
	require.Equal(t, want, *r.Result)
}

func requireError(t *testing.T, want int64, text string) {
	t.Helper()
	r := parse(t, text)
	require.Nil(t, r.Result, text)
	require.NotNil(t, r.Error, text)
	require.Equal(t, want, r.Error.Code)
}

// run runs a program to its end, and returns what it printed.
func run(t *testing.T, install, dir, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatalf("%s is missing: %s", program, install)
	}
	require.NoError(t, err, "%s %q: %s\n%s", program, args, stdout, &stderr)
	return string(stdout)
}

func TestCurl(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	curl := func(args ...string) (body, status string) {
		t.Helper()
		out := run(t, "apt-get install curl", "", "curl", append([]string{"-sS", "-w", "\n%{http_code}", s.URL}, args...)...)
		at := strings.LastIndexByte(out, '\n')
		return out[:at], out[at+1:]
	}
	body, status := curl("-d", add)
	require.Equal(t, "200", status)
	require.Equal(t, added, body)

	body, status = curl("-d", `{"jsonrpc":"2.0","method":"add","params":[1,5.1]}`)
	require.Equal(t, "204", status)
	require.Empty(t, body)

	_, status = curl()
	require.Equal(t, "405", status)

	body, status = curl("-d", "garbage")
	require.Equal(t, "200", status)
	requireError(t, -32700, body)

	big := filepath.Join(t.TempDir(), "big") // curl asks first: Expect: 100-continue
	require.NoError(t, os.WriteFile(big, []byte(add+strings.Repeat(" ", 2<<20)), 0o600))
	body, status = curl("-H", "Content-Type: application/json", "--data-binary", "@"+big)
	require.Equal(t, "200", status)
	requireResult(t, 6.1, body)
}

func TestRubyClient(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	call := func(method, params string) string {
		t.Helper()
		body, ok := strings.CutPrefix(rubytest.Run(t, "http_client.rb", s.URL, method, params), "200\n")
		require.True(t, ok)
		return body
	}
	requireResult(t, 6.1, call("add", "[1,5.1]"))
	requireResult(t, -4, call("subtract", `{"A":1,"B":5}`))
	requireError(t, jsonrpc2.CodeMethodNotFound, call("multiply", "[1,5]"))
	requireError(t, jsonrpc2.CodeInvalidParams, call("add", `["a","b"]`))
	require.Equal(t, "204\n", rubytest.Run(t, "http_client.rb", s.URL, "!add", "[1,5.1]"))
}

// Metadata of Ruby programs and ours arrives, and what Begin refuses reaches both.
func TestRubyMeta(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{Begin: servicetest.Authenticate})
	call := func(meta string) string {
		return strings.TrimPrefix(rubytest.Run(t, "http_client.rb", s.URL, "add", "[1,5.1]", meta), "200\n")
	}
	rubytest.RequireError(t, 401, call(`{"token":"guessed"}`))
	rubytest.RequireResult(t, 6.1, call(`{"token":"s3cret"}`))
	servicetest.RequireAuthentication(t, dial(t, connect(t, s.URL, nil)))
}

// requireCalc requires that a foreign server serves calc.
func requireCalc(t *testing.T, client *calc.Client) {
	t.Helper()
	sum, err := client.Add(t.Context(), 1, 5.1)
	require.NoError(t, err)
	require.Equal(t, 6.1, sum)
	difference, err := client.Subtract(t.Context(), 1, 5)
	require.NoError(t, err)
	require.EqualValues(t, -4, difference)
}

func TestSinatraServer(t *testing.T) {
	t.Parallel()
	port := brokertest.FreePort(t)
	rubytest.Start(t, "http_server.rb", port)
	url := "http://127.0.0.1:" + port + "/calc"
	typed := calc.NewClient(connect(t, url, nil))
	defer typed.Close()
	requireCalc(t, typed)
	client := dial(t, connect(t, url, nil))
	servicetest.RequireManyAdds(t, client, 8, 10)
	tenant, err := jsonrpc2.Call[float64](jsonrpc2.WithMeta(t.Context(), jsonrpc2.Meta{"tenant": "7"}), client, "Calc.Tenant", nil)
	require.NoError(t, err)
	require.EqualValues(t, 7, tenant)
	_, err = jsonrpc2.Call[float64](t.Context(), client, "Calc.Multiply", [2]float64{1, 5})
	servicetest.RequireCode(t, jsonrpc2.CodeMethodNotFound, err)
	_, err = jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", [2]string{"a", "b"})
	servicetest.RequireCode(t, jsonrpc2.CodeInvalidParams, err)
	require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Calc.Add", [2]float64{1, 5}))
}

// That server knows no batches: it says so, and the calls of each fail at once.
func TestServerWithoutBatches(t *testing.T) {
	t.Parallel()
	port := brokertest.FreePort(t)
	rubytest.Start(t, "http_server.rb", port)
	client := dial(t, jsonrpc2.Batch(connect(t, "http://127.0.0.1:"+port+"/calc", nil), nil))
	servicetest.RequireAdds(t, client) // alone
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			sum, err := servicetest.Add(client, float64(i), 0.5)
			if err == nil { // was alone
				assert.Equal(t, float64(i)+0.5, sum)
				return
			}
			answer, ok := jsonrpc2.AsError(err)
			assert.True(t, ok, "%v", err)
			assert.Equal(t, &jsonrpc2.Error{Code: jsonrpc2.CodeInvalidRequest, Message: "Invalid Request"}, answer)
		})
	}
	wg.Wait()
	servicetest.RequireAdds(t, client)
}

const installNode = "apt-get install nodejs npm"

// jayson returns a folder with the npm package of that name, and programs that
// use it.
func jayson(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "npm"))))
	run(t, installNode, dir, "npm", "ci", "--prefer-offline", "--ignore-scripts", "--no-audit", "--no-fund")
	return dir
}

func TestJayson(t *testing.T) {
	t.Parallel()
	dir := jayson(t)
	t.Run("client", func(t *testing.T) {
		s := newSite(t, nil, jsonrpc2.ServerOptions{})
		lines := strings.Split(strings.TrimSuffix(run(t, installNode, dir, "node", "client.js", s.URL), "\n"), "\n")
		require.Len(t, lines, 7, lines)
		requireResult(t, 6.1, lines[0])
		requireResult(t, -4, lines[1])
		requireError(t, jsonrpc2.CodeMethodNotFound, lines[2])
		requireError(t, jsonrpc2.CodeInvalidParams, lines[3])
		require.Equal(t, "null", lines[4], "a notification")
		var batch []response
		require.NoError(t, json.Unmarshal([]byte(lines[5]), &batch), lines[5])
		results := make(map[string]float64)
		for _, r := range batch {
			results[string(r.ID)] = *r.Result
		}
		require.Equal(t, map[string]float64{`"first"`: 3, `"second"`: -1}, results)
		require.Equal(t, "null", lines[6], "a batch of notifications")
		require.EqualValues(t, 7, s.handler.Stats().Replies)
	})
	t.Run("server", func(t *testing.T) {
		url := startNode(t, dir)
		typed := calc.NewClient(connect(t, url, nil))
		defer typed.Close()
		requireCalc(t, typed)
		for _, conn := range []jsonrpc2.ClientConn{connect(t, url, nil), jsonrpc2.Batch(connect(t, url, nil), nil)} {
			client := dial(t, conn)
			servicetest.RequireManyAdds(t, client, 64, 10)
			_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Multiply", [2]float64{1, 5})
			servicetest.RequireCode(t, jsonrpc2.CodeMethodNotFound, err)
			_, err = jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", [2]string{"a", "b"})
			servicetest.RequireCode(t, jsonrpc2.CodeInvalidParams, err)
			require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Calc.Add", [2]float64{1, 5}))
		}
	})
}

// startNode starts server.js, and returns its URL.
func startNode(t *testing.T, dir string) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "node", "server.js")
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start(), installNode)
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan(), "server.js ended before it was ready")
	return "http://127.0.0.1:" + lines.Text()
}

// A trace travels in the headers of single requests, too, for the proxies between.
func TestTraceInHeaders(t *testing.T) {
	t.Parallel()
	headers := make(chan http.Header, 10)
	seen := make(chan jsonrpc2.Meta, 10)
	begin := func(_ context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
		require.NotEmpty(t, call.Peer.Addr)
		seen <- call.Meta
		return nil, nil, nil
	}
	s := newSite(t, nil, jsonrpc2.ServerOptions{Begin: begin})
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header.Clone()
		s.handler.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	trace := jsonrpc2.Meta{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": "a=1", "baggage": "b=2", "token": "secret"}
	client := dial(t, connect(t, proxy.URL, nil))
	for _, meta := range []jsonrpc2.Meta{nil, trace, {"baggage": "b=3"}} {
		_, err := jsonrpc2.Call[float64](jsonrpc2.WithMeta(t.Context(), meta), client, "Calc.Add", calc.Args{A: 1})
		require.NoError(t, err)
		got := <-headers
		for _, name := range []string{"traceparent", "tracestate", "baggage"} {
			require.Equal(t, meta[name], got.Get(name))
		}
		require.Empty(t, got.Get("token"))
		require.Equal(t, meta, <-seen)
	}

	r := request(t, s.URL, add) // of a foreign client
	r.Header.Add("Traceparent", trace["traceparent"])
	r.Header.Add("Tracestate", "a=1")
	r.Header.Add("Tracestate", "c=2")
	require.Equal(t, http.StatusOK, s.do(t, r).status)
	require.Equal(t, jsonrpc2.Meta{"traceparent": trace["traceparent"], "tracestate": "a=1,c=2"}, <-seen)
}
