package httpconn_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// dialRaw connects to the site without an HTTP client between.
func (s *site) dialRaw(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// begin writes the head of a request, and a part of its body.
func begin(t *testing.T, conn net.Conn, length int, part string) {
	t.Helper()
	_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", length, part)
	require.NoError(t, err)
}

func (s *site) requireArrived(t *testing.T, n int64) {
	t.Helper()
	servicetest.Eventually(t, func() bool { return s.arrived.Load() == n }, "want %d requests to arrive", n)
}

func TestSlowBody(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{MaxInFlight: 1})
	slow := s.dialRaw(t)
	begin(t, slow, len(add), add[:10])
	s.requireArrived(t, 1)
	s.requireAdds(t) // it holds no place
	_, err := io.WriteString(slow, add[10:])
	require.NoError(t, err)
	response, err := http.ReadResponse(bufio.NewReader(slow), nil)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.JSONEq(t, added, string(body))
}

func TestCutBody(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	for name, part := range map[string]string{"nothing": "", "a part": add[:10], "all but a blank": add} {
		before := s.handler.Stats()
		conn := s.dialRaw(t)
		begin(t, conn, len(add)+1, part)
		require.NoError(t, conn.Close())
		servicetest.Eventually(t, func() bool { return s.handler.Stats().Gone == before.Gone+1 }, name)
		require.Equal(t, before.Requests, s.handler.Stats().Requests, "%s: not run", name)
	}
	s.requireAdds(t)
}

// The end of a connection is seen while its request waits, and while it runs.
func TestConnectionIsCut(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{MaxInFlight: 1})
	running := s.dialRaw(t)
	begin(t, running, len(pass), pass)
	s.slow.RequireRunning(t, 1)
	waiting := s.dialRaw(t)
	begin(t, waiting, len(pass), pass)
	s.requireArrived(t, 2)
	require.NoError(t, waiting.Close())
	servicetest.Eventually(t, func() bool { return s.handler.Stats().Gone == 1 })
	require.NoError(t, running.Close())
	servicetest.Eventually(t, func() bool { return s.left.Load() == 2 })

	s.slow.Open()
	s.requireAdds(t)
	require.EqualValues(t, 1, s.slow.Ran.Load())
	servicetest.EventuallyEqual(t, httpconn.ServerStats{Requests: 2, Replies: 1, Gone: 1}, s.handler.Stats)
}

// Serve returns when the last answer is handed over; Shutdown when it is sent.
func TestShutdown(t *testing.T) {
	t.Parallel()
	const calls = 20
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	answers := make(chan answer, calls)
	for range calls {
		r := request(t, s.URL, pass)
		go func() {
			response, err := s.Client().Do(r)
			if err != nil {
				answers <- answer{body: err.Error()}
				return
			}
			defer response.Body.Close()
			body, _ := io.ReadAll(response.Body)
			answers <- answer{response.StatusCode, response.Header, string(body)}
		}()
	}
	s.slow.RequireRunning(t, calls)
	s.Drain()
	servicetest.Eventually(t, func() bool { return s.post(t, add).status == http.StatusServiceUnavailable })
	s.slow.Open()
	<-s.Done
	require.NoError(t, s.Err)
	require.NoError(t, s.Config.Shutdown(context.Background()))
	for range calls {
		got := <-answers
		require.Equal(t, http.StatusOK, got.status, got.body)
		require.JSONEq(t, passed, got.body)
	}
}
