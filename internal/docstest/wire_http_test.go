package docstest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// readExchange returns what both sides send in a session of lines with arrows.
func readExchange(t *testing.T, session string) (sent, answered []string) {
	t.Helper()
	for line := range strings.Lines(session) {
		arrow, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		switch arrow {
		case "-->":
			sent = append(sent, rest)
		case "<--":
			answered = append(answered, rest)
		default:
			require.Fail(t, "no line of a session", line)
		}
	}
	return sent, answered
}

// A webMessage is an HTTP request or response of the page.
type webMessage struct {
	first  string // line
	header http.Header
	body   string
}

func readWeb(t *testing.T, lines []string) webMessage {
	t.Helper()
	m := webMessage{first: lines[0], header: make(http.Header)}
	for i, line := range lines[1:] {
		if line == "" {
			m.body = strings.Join(lines[i+2:], "\n")
			return m
		}
		name, value, ok := strings.Cut(line, ": ")
		require.True(t, ok, line)
		m.header.Add(name, value)
	}
	require.Fail(t, "no empty line after the header")
	return m
}

// webServer serves Calc over HTTP, and returns the URL.
func webServer(t *testing.T) string {
	t.Helper()
	handler := servicetest.Must(httpconn.Listen(nil))
	servicetest.Serve(t, handler, quietServer)
	mux := http.NewServeMux()
	mux.Handle("/calc", handler)
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	return web.URL + "/calc"
}

// The client of each HTTP session gets from our server what the page says.
func TestHTTPClientInPage(t *testing.T) {
	t.Parallel()
	eachSession(t, "http", func(t *testing.T, session string) {
		sent, answered := readExchange(t, session)
		want, v := readWeb(t, answered), newValues(session)
		r := readWeb(t, sent)
		method, _, _ := strings.Cut(r.first, " ")
		request, err := http.NewRequestWithContext(t.Context(), method, webServer(t), strings.NewReader(v.fill(r.body)))
		require.NoError(t, err)
		for name := range r.header {
			request.Header.Set(name, v.fill(r.header.Get(name)))
		}
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		defer http.DefaultClient.CloseIdleConnections()
		defer response.Body.Close()
		require.Equal(t, want.first, response.Proto+" "+response.Status)
		for name := range want.header {
			require.Equal(t, want.header.Get(name), response.Header.Get(name))
		}
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		v.requireMessage(t, want.body, string(body))
	})
}

// The server of each HTTP session serves our client.
func TestHTTPServerInPage(t *testing.T) {
	t.Parallel()
	eachSession(t, "http", func(t *testing.T, session string) {
		sent, answered := readExchange(t, session)
		want, answer, v := readWeb(t, sent), readWeb(t, answered), make(values)
		requests, bodies := make(chan webMessage, 1), make(chan string, 1)
		web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			requests <- webMessage{r.Method + " " + r.URL.Path + " " + r.Proto, r.Header, string(body)}
			for name := range answer.header {
				w.Header().Set(name, answer.header.Get(name))
			}
			_, _ = io.WriteString(w, <-bodies)
		}))
		defer web.Close()
		ended := start(t, newClient(t, servicetest.Must(httpconn.Dial(web.URL+"/calc", nil))), want.body)
		got := <-requests
		defer close(bodies)
		require.Equal(t, want.first, got.first)
		for name := range want.header {
			v.requireText(t, want.header.Get(name), got.header.Get(name))
		}
		v.requireMessage(t, want.body, got.body)
		bodies <- v.fill(answer.body)
		requireOutcome(t, ended, v.fill(answer.body))
	})
}

// The page's command lines print what stands below them.
func TestCurlInPage(t *testing.T) {
	t.Parallel()
	url := webServer(t)
	for _, block := range fencedBlocks(t, wirePage, "console") {
		require.Contains(t, block, "http://localhost:4567/calc")
		playConsole(t, strings.ReplaceAll(block, "http://localhost:4567/calc", url), nil)
	}
}

// Each status in the page means for a call of ours what the page says.
func TestStatusesInPage(t *testing.T) {
	t.Parallel()
	sentinels := map[string]error{
		"ErrNoServer": jsonrpc2.ErrNoServer, "ErrTooLarge": jsonrpc2.ErrTooLarge, "ErrOverloaded": jsonrpc2.ErrOverloaded,
		"ErrUnavailable": jsonrpc2.ErrUnavailable, "ErrReplyLost": jsonrpc2.ErrReplyLost, "ErrBadReply": jsonrpc2.ErrBadReply,
	}
	rows := regexp.MustCompile(`(?m)^\| ([0-9, ]+) \| (Err\w+) \| (.*) \|$`).FindAllStringSubmatch(docPage(t, wirePage), -1)
	require.Len(t, rows, len(sentinels))
	for _, row := range rows {
		sentinel := sentinels[row[2]]
		require.Error(t, sentinel, row[2])
		mayHaveRun := errors.Is(sentinel, jsonrpc2.ErrReplyLost) || errors.Is(sentinel, jsonrpc2.ErrBadReply)
		require.Equal(t, mayHaveRun, row[3] == "may have run", row[0])
		for text := range strings.SplitSeq(row[1], ", ") {
			status, err := strconv.Atoi(text)
			require.NoError(t, err)
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
			client := newClient(t, servicetest.Must(httpconn.Dial(web.URL, nil)))
			require.ErrorIs(t, (<-start(t, client, `{"id":1,"method":"add"}`)).err, sentinel, text)
			web.Close()
		}
	}
}
