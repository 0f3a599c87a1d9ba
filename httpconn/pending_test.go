package httpconn_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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
	ctx, giveUp = context.WithTimeout(t.Context(), unhurried) // in which it begins to wait
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

// Requests that were not posted in time did not run, also if the ClientConn has let them go
// before it is asked about them.
func TestInquiryAboutRequestsThatWereLetGo(t *testing.T) {
	hold := roundTripper(func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	synctest.Test(t, func(t *testing.T) {
		conn := connect(t, "http://h/calc", &httpconn.DialOptions{MaxInFlight: 1, Client: &http.Client{Transport: hold}})
		defer conn.Close()
		write := func(timeout time.Duration, size int) *jsonrpc2.Request {
			ctx, cancel := context.WithTimeout(t.Context(), timeout)
			t.Cleanup(cancel)
			r := jsonrpc2.NewRequest(ctx, []byte(add), jsonrpc2.Hooks{})
			r.Body = make([]byte, size)
			require.NoError(t, conn.WriteRequest(r))
			return r
		}
		const large = 10 << 20
		posted := write(time.Minute, 1)
		dropped := write(time.Second, large)
		time.Sleep(2 * time.Second)
		tooLate := write(time.Minute-2*time.Second, large) // takes the room of dropped
		require.EqualValues(t, 2, conn.Stats().InFlight)
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Zero(t, conn.Stats().InFlight)
		found := conn.Inquire(t.Context(), []*jsonrpc2.Request{posted, dropped, tooLate})
		require.NoError(t, found[0])
		require.ErrorIs(t, found[1], jsonrpc2.ErrNotRun)
		require.ErrorIs(t, found[2], jsonrpc2.ErrNotRun)
	})
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
