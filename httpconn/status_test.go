package httpconn_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A page is what a server answers with, whatever it was asked; ID in it stands for
// the id of the request.
type page struct {
	status int
	header http.Header
	body   string
}

// RoundTrip implements http.RoundTripper.
func (p *page) RoundTrip(r *http.Request) (*http.Response, error) {
	request, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	var header jsonrpc2.Header
	header.Scan(request)
	body := strings.ReplaceAll(p.body, "ID", `"`+header.ID()+`"`)
	return &http.Response{StatusCode: p.status, Header: p.header, ContentLength: -1, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func (p *page) conn(t testing.TB) *httpconn.ClientConn {
	return connect(t, "http://user:secret@h/calc?token=secret", &httpconn.DialOptions{Client: &http.Client{Transport: p}})
}

var marked = http.Header{httpconn.NotBegunHeader: {"true"}}

// statusTable has all statuses but those that only say that an answer is none.
var statusTable = map[error][]int{
	jsonrpc2.ErrOverloaded: {429},
	jsonrpc2.ErrNoServer:   {404, 410},
	jsonrpc2.ErrTooLarge:   {413},
	jsonrpc2.ErrUnavailable: append([]int{401, 403, 405, 407, 411, 414, 415, 417, 421, 425, 426, 428, 431, 511},
		slices.DeleteFunc(from(300, 399), func(status int) bool { return status == 303 })...),
	jsonrpc2.ErrReplyLost: append([]int{408, 444, 460, 499},
		slices.DeleteFunc(from(502, 599), func(status int) bool { return status == 511 })...),
}

func from(first, last int) (all []int) {
	for status := first; status <= last; status++ {
		all = append(all, status)
	}
	return all
}

func sentinelOf(status int, header http.Header) error {
	if header != nil && status >= 400 {
		switch status {
		case 413:
			return jsonrpc2.ErrTooLarge
		case 503:
			return jsonrpc2.ErrOverloaded
		}
		return jsonrpc2.ErrUnavailable
	}
	for sentinel, statuses := range statusTable {
		if slices.Contains(statuses, status) {
			return sentinel
		}
	}
	return jsonrpc2.ErrBadReply
}

// The sentinel of a call says what the status proves, and no more: a 503 from a proxy does not
// promise that nothing runs.
func TestStatusWithoutAnAnswer(t *testing.T) {
	t.Parallel()
	bodies := map[string]string{
		"":                              ": the body is empty",
		" \r\n\t":                       ": the body is empty",
		"<html>\r\n  <h1>Sorry</h1>":    `: "<html> <h1>Sorry</h1>"`,
		`"a string"`:                    `: "\"a string\""`,
		"\x00\xff":                      `: "��"`,
		`{"message":"no such route"}`:   `: "{\"message\":\"no such route\"}"`,
		`[]`:                            `: "[]"`,
		strings.Repeat("<p>", 1<<10):    `<p><p…"`,
		`{"id":"another's","result":1}`: `: "{\"id\":\"another's\",\"result\":1}"`,
		`{"result":`:                    "not valid JSON",
		"http://user:secret@h?token=secret secret": `: "http://***@h?*** ***"`,
	}
	for text, says := range bodies {
		t.Run(fmt.Sprintf("%.20q", text), func(t *testing.T) {
			t.Parallel()
			for _, header := range []http.Header{nil, marked} {
				p := &page{header: header, body: text}
				client := dialWith(t, p.conn(t), jsonrpc2.ClientOptions{Timeout: -1})
				for _, p.status = range append(from(200, 599), 666, 999) {
					_, err := servicetest.Add(client, 1, 2)
					require.Error(t, err, p.status)
					requireFailure(t, err, sentinelOf(p.status, header), fmt.Sprintf("POST http://h/calc: %d", p.status), says)
					require.Less(t, len(err.Error()), 500)
				}
			}
		})
	}
}

// An answer counts whatever the status and the content type: many servers send
// their errors with 500 or 400.
func TestAnswerWithAnyStatus(t *testing.T) {
	t.Parallel()
	refused := &jsonrpc2.Error{Code: -32602, Message: "no"}
	for text, want := range map[string]*jsonrpc2.Error{
		`{"jsonrpc":"2.0","id":ID,"result":6.1}`:                                       nil,
		"\ufeff \r\n" + `{"jsonrpc":"2.0","id":ID,"result":6.1}`:                       nil,
		`[{"jsonrpc":"2.0","id":ID,"result":6.1}]`:                                     nil,
		`{"jsonrpc":"2.0","id":ID,"error":{"code":-32602,"message":"no"}}`:             refused,
		`{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"no"}}`:           refused,
		"\ufeff" + `{"jsonrpc":"2.0","error":{"code":-32602,"message":"no"}}`:          refused,
		`[{"jsonrpc":"2.0","id":7,"result":1},{"jsonrpc":"2.0","id":ID,"result":6.1}]`: nil,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			for _, header := range []http.Header{nil, marked, {"Content-Type": {"text/html"}}} {
				p := &page{header: header, body: text}
				client := dialWith(t, p.conn(t), jsonrpc2.ClientOptions{Timeout: -1})
				for _, p.status = range append(from(200, 599), 666, 999) {
					sum, err := servicetest.Add(client, 1, 5.1)
					if want == nil {
						require.NoError(t, err, p.status)
						require.Equal(t, 6.1, sum)
						continue
					}
					var answer *jsonrpc2.Error
					require.ErrorAs(t, err, &answer, p.status)
					require.Equal(t, want, answer)
				}
			}
		})
	}
}

// A notification is done with any success, and fails otherwise: it is counted as unsent
// where the status says that it was not taken.
func TestStatusOfANotification(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "<html>", `{"message":"queued"}`, `{"jsonrpc":"2.0","id":1,"result":1}`} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			p := &page{body: text}
			for _, p.status = range append(from(200, 599), 999) {
				stats := new(jsonrpc2.ClientStats)
				client := dialWith(t, p.conn(t), jsonrpc2.ClientOptions{Stats: stats})
				err := jsonrpc2.Notify(t.Context(), client, "Calc.Add", nil)
				require.Equal(t, p.status/100 == 2, err == nil, "%d: %v", p.status, err)
				var want notified
				switch sentinel := sentinelOf(p.status, nil); {
				case p.status/100 == 2 && text == `{"jsonrpc":"2.0","id":1,"result":1}`: // which nobody waits for
					want.dropped = 1
				case p.status/100 == 2:
				case sentinel == jsonrpc2.ErrReplyLost || sentinel == jsonrpc2.ErrBadReply:
					want.unconfirmed = 1
				default:
					want.unsent = 1
				}
				servicetest.Eventually(t, func() bool { return notifiedOf(stats) == want }, "%d", p.status)
				require.NoError(t, client.Close())
				require.Equal(t, want, notifiedOf(stats), "%d", p.status)
			}
		})
	}
}

// notified is what a client has counted of notifications.
type notified struct{ dropped, unconfirmed, unsent int64 }

func notifiedOf(stats *jsonrpc2.ClientStats) notified {
	got := stats.Snapshot()
	return notified{got.Dropped, got.Unconfirmed, got.Unsent}
}

const two = `[{"jsonrpc":"2.0","id":"a","method":"add"},{"jsonrpc":"2.0","id":"b","method":"add"}]`

// The calls of a batch that are not answered fail with what the status says.
func TestStatusOfABatch(t *testing.T) {
	t.Parallel()
	for _, header := range []http.Header{nil, marked} {
		p := &page{header: header}
		conn := p.conn(t)
		defer conn.Close()
		require.NoError(t, conn.Open(jsonrpc2.Settings{MessageSize: 1 << 20}))
		for _, p.status = range from(200, 599) {
			want := sentinelOf(p.status, header)
			for _, p.body = range []string{"", "<html>", `[{"jsonrpc":"2.0","id":"a","result":1}]`} {
				failed := make(chan error, 1)
				r := jsonrpc2.NewRequest(t.Context(), []byte(two), jsonrpc2.Hooks{Fail: func(err error) { failed <- err }})
				require.NoError(t, conn.WriteRequest(r))
				if !strings.HasPrefix(p.body, "[") {
					requireFailure(t, <-failed, want, fmt.Sprint(p.status))
					continue
				}
				reply, err := conn.ReadReply(t.Context())
				require.NoError(t, err)
				require.Equal(t, p.body, string(reply.Body))
				require.Same(t, r, reply.Request)
				require.Empty(t, failed)
				requireFailure(t, reply.Missing, want, fmt.Sprint(p.status))
			}
		}
	}
}

// A gateway answers batches in part: the others fail, each once.
func TestBatchIsAnsweredInPart(t *testing.T) {
	t.Parallel()
	first := roundTripper(func(r *http.Request) (*http.Response, error) {
		request, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		var header jsonrpc2.Header
		header.Scan(request)
		p := page{status: http.StatusBadGateway, body: `{"jsonrpc":"2.0","id":"` + header.ID() + `","result":7}`} // of the first item
		return &http.Response{StatusCode: p.status, Body: io.NopCloser(strings.NewReader(p.body))}, nil
	})
	conn := connect(t, "http://h/calc", &httpconn.DialOptions{Client: &http.Client{Transport: first}})
	client := dialWith(t, jsonrpc2.Batch(conn, nil), jsonrpc2.ClientOptions{Timeout: -1})
	var answered, failed atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			n, err := jsonrpc2.Call[int](context.Background(), client, "Calc.Add", nil)
			if err == nil {
				assert.Equal(t, 7, n)
				answered.Add(1)
				return
			}
			assert.ErrorIs(t, err, jsonrpc2.ErrReplyLost)
			assert.ErrorContains(t, err, "502 Bad Gateway")
			failed.Add(1)
		})
	}
	wg.Wait()
	require.Positive(t, answered.Load())
	require.EqualValues(t, 64, answered.Load()+failed.Load())
}

func gzipped(text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text)
	_ = w.Close()
	return b.String()
}

// A reply may have a Content-Encoding that was not asked for.
func TestContentEncoding(t *testing.T) {
	t.Parallel()
	const limit = 10_000
	const answer = `{"jsonrpc":"2.0","id":"ID","result":6.1}`
	for name, test := range map[string]struct {
		status   int
		encoding string
		body     func(answer string) string
		want     error // nil: it is answered
		says     string
	}{
		"gzip":                {200, "gzip", gzipped, nil, ""},
		"GZIP":                {200, "GZIP", gzipped, nil, ""},
		"x-gzip":              {200, "x-gzip", gzipped, nil, ""},
		"gzip of an error":    {500, "gzip", gzipped, nil, ""},
		"identity":            {200, "identity", strings.Clone, nil, ""},
		"a false label":       {200, "gzip", strings.Clone, nil, ""},
		"no encoding at all":  {200, "utf-8", strings.Clone, nil, ""},
		"broken gzip":         {200, "gzip", func(string) string { return "garbage" }, jsonrpc2.ErrBadReply, "Content-Encoding is gzip: "},
		"half a gzip":         {200, "gzip", func(text string) string { return gzipped(text)[:20] }, jsonrpc2.ErrBadReply, "Content-Encoding is gzip: unexpected EOF"},
		"empty gzip":          {200, "gzip", func(string) string { return "" }, jsonrpc2.ErrBadReply, "the body is empty"},
		"gzipped HTML":        {502, "gzip", func(string) string { return gzipped("<html>") }, jsonrpc2.ErrReplyLost, `502: "<html>"`},
		"a bomb":              {200, "gzip", func(string) string { return gzipped(strings.Repeat(" ", 1<<22)) }, jsonrpc2.ErrReplyTooLarge, "limit of 10000 bytes"},
		"a bomb that says no": {404, "gzip", func(string) string { return gzipped(strings.Repeat(" ", 1<<22)) }, jsonrpc2.ErrNoServer, "404"},
		"br":                  {200, "br", gzipped, jsonrpc2.ErrBadReply, `Content-Encoding is "br"`},
		"deflate":             {200, "deflate", gzipped, jsonrpc2.ErrBadReply, `Content-Encoding is "deflate"`},
		"zstd":                {200, "zstd", gzipped, jsonrpc2.ErrBadReply, `Content-Encoding is "zstd"`},
		"two":                 {200, "br, gzip", gzipped, jsonrpc2.ErrBadReply, `Content-Encoding is "br, gzip"`},
		"br of no server":     {404, "br", gzipped, jsonrpc2.ErrNoServer, `Content-Encoding is "br"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trip := roundTripper(func(r *http.Request) (*http.Response, error) {
				request, err := io.ReadAll(r.Body)
				if err != nil {
					return nil, err
				}
				var header jsonrpc2.Header
				header.Scan(request)
				text := test.body(strings.ReplaceAll(answer, "ID", header.ID()))
				return &http.Response{
					StatusCode: test.status, Header: http.Header{"Content-Encoding": {test.encoding}}, Status: fmt.Sprint(test.status),
					Body: io.NopCloser(strings.NewReader(text)), ContentLength: int64(len(text)),
				}, nil
			})
			conn := connect(t, "http://h/calc", &httpconn.DialOptions{Client: &http.Client{Transport: trip}})
			client := dialWith(t, conn, jsonrpc2.ClientOptions{Timeout: -1, MaxMessageSize: limit})
			sum, err := servicetest.Add(client, 1, 5.1)
			if test.want == nil {
				require.NoError(t, err)
				require.Equal(t, 6.1, sum)
				return
			}
			requireFailure(t, err, test.want, test.says)
		})
	}
}

// Our own client asks for no encoding. A given one may: net/http then decodes.
func TestAcceptEncoding(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		client *http.Client
		want   string
	}{
		"own":                           {nil, "identity"},
		"given":                         {&http.Client{Transport: new(http.Transport)}, "gzip"},
		"given, which asks for nothing": {&http.Client{Transport: &http.Transport{DisableCompression: true}}, "identity"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := make(chan string, 1)
			s := newOddSite(t, func(w http.ResponseWriter, r *http.Request) {
				asked <- r.Header.Get("Accept-Encoding")
				w.Header().Set("Content-Encoding", "gzip")
				_, _ = io.WriteString(w, gzipped(`{"jsonrpc":"2.0","error":{"code":7,"message":"unpacked"}}`))
			})
			client := dial(t, connect(t, s.secret, &httpconn.DialOptions{Client: test.client}))
			_, err := jsonrpc2.Call[int](t.Context(), client, "Calc.Odd", nil)
			require.ErrorContains(t, err, "unpacked")
			require.Equal(t, test.want, <-asked)
			if test.client != nil {
				test.client.CloseIdleConnections()
			}
		})
	}
}

// What a server quotes of the URL stays secret, also at the end of what is shown.
func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	p := &page{status: 500}
	conn := connect(t, "http://me:pa%20ss%3Csecret@h/calc?a=1&token=sec%2Fsecret", &httpconn.DialOptions{Client: &http.Client{Transport: p}})
	client := dial(t, conn)
	for _, p.body = range []string{
		"pa ss<secret", "pa%20ss%3Csecret", "pa+ss%3Csecret", "pa ss&lt;secret", "sec/secret", "sec%2Fsecret",
		"a=1&token=sec%2Fsecret", "a=1&amp;token=sec%2Fsecret", "bWU6cGEgc3M8c2VjcmV0",
		strings.Repeat("x", 190) + " sec/secret", strings.Repeat("x", 196) + " sec/secret",
	} {
		p.header = http.Header{"Content-Type": {"text/html; " + p.body}}
		_, err := servicetest.Add(client, 1, 2)
		requireFailure(t, err, jsonrpc2.ErrBadReply, "***")
		require.NotContains(t, err.Error(), "sec")
		require.NotContains(t, err.Error(), "bWU6")
	}
}
