package httpconn_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// MaxInFlight requests are under way at once; the others wait, in their order. A request that
// is given up while it waits certainly did not run.
func TestMaxInFlight(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	conn := connect(t, s.URL, &httpconn.DialOptions{MaxInFlight: 2})
	client := dialWith(t, conn, jsonrpc2.ClientOptions{Timeout: -1})
	begin := func(ctx context.Context, n int) <-chan error {
		ended := make(chan error, 1)
		go func() {
			_, err := jsonrpc2.Call[int](ctx, client, "Slow.Wait", n)
			ended <- err
		}()
		return ended
	}
	counts := func(inFlight, waiting int64) {
		t.Helper()
		servicetest.Eventually(t, func() bool {
			stats := conn.Stats()
			return stats.InFlight == inFlight && stats.Waiting == waiting
		})
	}
	var all []<-chan error
	for n := range 6 {
		all = append(all, begin(t.Context(), n))
		counts(int64(n+1), int64(max(n-1, 0)))
	}
	s.slow.RequireRunning(t, 2)
	ctx, giveUp := context.WithCancel(t.Context())
	canceled := begin(ctx, 6)
	counts(7, 5)
	giveUp()
	require.ErrorIs(t, <-canceled, context.Canceled)
	ctx, giveUp = context.WithTimeout(t.Context(), servicetest.Tick)
	defer giveUp()
	err := <-begin(ctx, 7)
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	require.ErrorIs(t, err, jsonrpc2.ErrNotRun)
	require.ErrorContains(t, err, "it waited for one of 2 others to end")

	s.slow.Open()
	for _, ended := range all {
		require.NoError(t, <-ended)
	}
	require.Equal(t, int64(2), s.slow.Most.Load())
	require.Len(t, s.slow.Order(), 6, "what was given up ran")
	require.Equal(t, int64(2), s.connections.Load())
	counts(0, 0)
	require.Equal(t, httpconn.ClientStats{Requests: 8}, conn.Stats())
}

// Requests that wait and are given up make room for others.
func TestGivenUpRequestsMakeRoom(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	conn := connect(t, s.URL, &httpconn.DialOptions{MaxInFlight: 1})
	client := dialWith(t, conn, jsonrpc2.ClientOptions{Timeout: -1})
	running := client.Go("Slow.Wait", 1, new(int), nil)
	s.slow.RequireRunning(t, 1)
	text := strings.Repeat("x", 3<<20)
	for range 20 {
		ctx, giveUp := context.WithTimeout(t.Context(), servicetest.Tick)
		_, err := jsonrpc2.Call[int](ctx, client, "Hold.Text", text)
		giveUp()
		require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	}
	s.slow.Open()
	require.NoError(t, (<-running.Done).Error)
}

// Requests that wait when the client is closed were not sent.
func TestCloseWithWaitingRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	conn := connect(t, s.URL, &httpconn.DialOptions{MaxInFlight: 1})
	client := dialWith(t, conn, jsonrpc2.ClientOptions{Timeout: -1})
	client.Go("Slow.Wait", 1, new(int), nil)
	s.slow.RequireRunning(t, 1)
	notified := make(chan error, 1)
	go func() { notified <- jsonrpc2.Notify(t.Context(), client, "Slow.Wait", 2) }()
	servicetest.Eventually(t, func() bool { return conn.Stats().Waiting == 1 })
	require.NoError(t, client.Close())
	require.ErrorIs(t, <-notified, jsonrpc2.ErrUnavailable)
	s.slow.Open()
}

func TestBadMaxInFlight(t *testing.T) {
	_, err := httpconn.Dial("http://h/calc", &httpconn.DialOptions{MaxInFlight: -1})
	require.EqualError(t, err, "httpconn: POST http://h/calc: MaxInFlight is -1, less than 0")
}
