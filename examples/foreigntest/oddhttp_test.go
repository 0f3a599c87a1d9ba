package foreigntest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// web opens a connection for each request.
var web = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// odd posts what is no request, notifications and batches, and sends what is refused.
func (s *httpSite) odd(t *testing.T, _ *servicetest.LogBook) {
	s.hangUp(t)
	s.requireRefusals(t)
	batched, answer := batch("", "a")
	for body, want := range map[string]string{
		"{":                             "-32700",
		strings.Repeat("[", 3000):       "-32700",
		"\xff":                          "-32700",
		"[]":                            "-32600",
		"null":                          "-32600",
		`{"method":"add","params":[1]}`: "-32600",
		`{"jsonrpc":"2.0","method":"add","params":[1,5.1],"id":null}`: `"id":null`,
		`{"jsonrpc":"2.0","method":"add","params":[1,5.1]}`:           "",
		`{"jsonrpc":"2.0","method":"multiply"}`:                       "",
		notified:                                                      "",
		batched:                                                       answer,
	} {
		response, text := s.send(t, http.MethodPost, "", strings.NewReader(body))
		if want == "" {
			require.Equal(t, http.StatusNoContent, response.StatusCode)
			require.Empty(t, text)
			continue
		}
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Equal(t, "application/json", response.Header.Get("Content-Type"))
		if body == batched {
			require.JSONEq(t, want, text)
			continue
		}
		text = strings.ReplaceAll(text, " ", "")
		require.True(t, strings.HasPrefix(text, "{"), "a batch: %s", text)
		require.Contains(t, text, want)
		require.NotContains(t, text, "result\":null")
	}
}

// send sends a request to a path below the server's, and returns the answer and its body.
func (s *httpSite) send(t *testing.T, method, below string, body io.Reader) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.url()+below, body)
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := web.Do(request)
	require.NoError(t, err)
	got, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	return response, string(got)
}

// requireRefusals requires that nothing runs but what is posted to the server's path. A body
// without a length runs, or is refused as such.
func (s *httpSite) requireRefusals(t *testing.T) {
	t.Helper()
	call, answer := answerable("a", "")
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"} {
		response, text := s.send(t, method, "", strings.NewReader(call))
		require.Equal(t, http.StatusMethodNotAllowed, response.StatusCode, method)
		require.Equal(t, "POST", response.Header.Get("Allow"), method)
		require.NotContains(t, text, "6.1")
	}
	response, text := s.send(t, http.MethodPost, "/below", strings.NewReader(call))
	require.Equal(t, http.StatusNotFound, response.StatusCode)
	require.NotContains(t, text, "6.1")

	response, text = s.send(t, http.MethodPost, "", io.MultiReader(strings.NewReader(call)))
	if response.StatusCode != http.StatusLengthRequired {
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.JSONEq(t, answer, text)
	}
}

// hangUp ends a request before its end. The server must survive it.
func (s *httpSite) hangUp(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("tcp", s.address)
	require.NoError(t, err)
	_, err = fmt.Fprint(conn, "POST /calc HTTP/1.1\r\nHost: calc\r\nContent-Length: 100\r\n\r\n{")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}
