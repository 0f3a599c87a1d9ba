package httpconn_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/rpc"
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

// A stuckSite answers nothing but Calc.Add, until the client hangs up.
type stuckSite struct {
	*httptest.Server
	arrived, stuck, connections atomic.Int64 // calls in all; requests and connections at the moment
}

func newStuckSite(t *testing.T) *stuckSite {
	t.Helper()
	inner := serve(t, nil, jsonrpc2.ServerOptions{})
	s := new(stuckSite)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !strings.Contains(string(body), `"stuck"`) {
			r.Body = io.NopCloser(strings.NewReader(string(body)))
			inner.handler.ServeHTTP(w, r)
			return
		}
		s.arrived.Add(int64(strings.Count(string(body), `"stuck"`)))
		s.stuck.Add(1)
		defer s.stuck.Add(-1)
		<-r.Context().Done()
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			s.connections.Add(1)
		case http.StateClosed:
			s.connections.Add(-1)
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	return s
}

// requireFree waits until nothing is stuck, and the connections of what was are closed.
func (s *stuckSite) requireFree(t *testing.T) {
	t.Helper()
	servicetest.Eventually(t, func() bool { return s.stuck.Load() == 0 && s.connections.Load() <= 1 })
}

// A notification that is never answered ends with the client's Timeout. Its POST stayed open
// for ever once.
func TestNotificationsThatAreNotAnswered(t *testing.T) {
	t.Parallel()
	s := newStuckSite(t)
	stats := new(jsonrpc2.ClientStats)
	client := dialWith(t, connect(t, s.URL, nil), jsonrpc2.ClientOptions{Timeout: unhurried, Stats: stats})
	const notes = 20
	var waiting sync.WaitGroup
	for range notes {
		waiting.Go(func() {
			err := jsonrpc2.Notify(t.Context(), client, "Calc.Stuck", nil)
			assert.ErrorIs(t, err, jsonrpc2.ErrUnconfirmed)
			assert.ErrorIs(t, err, jsonrpc2.ErrTimeout)
		})
	}
	waiting.Wait()
	require.EqualValues(t, notes, s.arrived.Load())
	s.requireFree(t)
	servicetest.RequireAdds(t, client)
	require.EqualValues(t, notes, stats.Snapshot().Timeouts)
	require.Zero(t, stats.Snapshot().Unsent+stats.Snapshot().Errors)
}

// In the end the bytes of such notifications kept all calls out.
func TestBytesOfNotificationsThatAreNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, running := hangingConn(t)
		client := dialWith(t, conn, jsonrpc2.ClientOptions{Timeout: time.Minute})
		big := strings.Repeat("x", 1<<20)
		for range 3 {
			for range 15 {
				go jsonrpc2.Notify(t.Context(), client, "Calc.Add", big)
			}
			synctest.Wait()
			require.ErrorIs(t, jsonrpc2.Notify(t.Context(), client, "Calc.Add", big), jsonrpc2.ErrOverloaded)
			synctest.Wait()
			require.EqualValues(t, 15, running.Load())
			time.Sleep(time.Minute)
			synctest.Wait()
			require.Zero(t, running.Load())
		}
	})
}

// The end of the last call of a batch ends its POST, with no Timeout set: else each
// kept a goroutine and a connection for ever.
func TestBatchThatIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newStuckSite(t)
	client := dialWith(t, jsonrpc2.Batch(connect(t, s.URL, nil), nil), jsonrpc2.ClientOptions{Timeout: -1})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	const calls = 1000
	for range calls {
		wg.Go(func() {
			_, err := jsonrpc2.Call[int](ctx, client, "Calc.Stuck", nil)
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	servicetest.Eventually(t, func() bool { return s.arrived.Load() == calls })
	cancel()
	wg.Wait()
	s.requireFree(t)
	servicetest.RequireAdds(t, client)
}

// As long as one call of a batch waits its POST goes on.
func TestBatchThatIsGivenUpInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, running := hangingConn(t)
		require.NoError(t, conn.Open(jsonrpc2.Settings{MessageSize: 1 << 20}))
		defer conn.Close()
		first, giveUpFirst := context.WithCancel(t.Context())
		second, giveUpSecond := context.WithCancel(t.Context())
		joined := jsonrpc2.JoinRequests([]byte(two), jsonrpc2.Hooks{},
			jsonrpc2.NewRequest(first, []byte(add), jsonrpc2.Hooks{}), jsonrpc2.NewRequest(second, []byte(add), jsonrpc2.Hooks{}))
		require.NoError(t, conn.WriteRequest(joined))
		giveUpFirst()
		synctest.Wait()
		require.EqualValues(t, 1, running.Load())
		giveUpSecond()
		synctest.Wait()
		require.Zero(t, running.Load())
	})
}

const note = `{"jsonrpc":"2.0","method":"add","params":[1,2]}`

// noteOver sends a notification, and returns nil when it is sent, else what it failed
// with.
func noteOver(t *testing.T, conn *httpconn.ClientConn) error {
	t.Helper()
	ended := make(chan error, 2)
	r := jsonrpc2.NewRequest(t.Context(), []byte(note), jsonrpc2.Hooks{
		Sent: func() { ended <- nil },
		Fail: func(err error) { ended <- err },
	})
	require.NoError(t, conn.WriteRequest(r))
	err := <-ended
	require.Empty(t, ended)
	<-r.Context().Done()
	return err
}

// A notification fails with the same sentinel as a call if the status proves that it did not
// run, else with ErrUnconfirmed.
func TestEndOfANotification(t *testing.T) {
	t.Parallel()
	p := new(page)
	conn := p.conn(t)
	defer conn.Close()
	require.NoError(t, conn.Open(jsonrpc2.Settings{MessageSize: 1000}))
	for _, p.header = range []http.Header{nil, marked} {
		for _, p.body = range []string{"", "<html>", `{"jsonrpc":"2.0","error":{"code":1,"message":"no"}}`, strings.Repeat("[", 2000)} {
			for _, p.status = range append(from(200, 599), 666) {
				err := noteOver(t, conn)
				refused := strings.Contains(p.body, "error")
				if p.status/100 == 2 && !refused {
					require.NoError(t, err, "%d %s", p.status, p.body)
					continue
				}
				want := sentinelOf(p.status, p.header)
				if want == jsonrpc2.ErrReplyLost || want == jsonrpc2.ErrBadReply {
					want = jsonrpc2.ErrUnconfirmed
				}
				requireFailure(t, err, want, "POST http://h/calc: ")
				if refused {
					require.ErrorContains(t, err, `\"message\":\"no\"`)
				}
			}
		}
	}
}

func TestNotificationsThatDoNotArrive(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		url    string
		client *http.Client
		want   error
	}{
		"refused port":     {"http://127.0.0.1:1/", nil, jsonrpc2.ErrUnavailable},
		"hangs up":         {"http://" + rawServer(t, answering("")), nil, jsonrpc2.ErrUnconfirmed},
		"client's timeout": {"http://" + rawServer(t, silent), &http.Client{Timeout: unhurried}, jsonrpc2.ErrUnconfirmed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := connect(t, test.url, &httpconn.DialOptions{Client: test.client})
			defer conn.Close()
			requireFailure(t, noteOver(t, conn), test.want, "POST ")
		})
	}
}

// hangingConn returns a Conn whose requests hang until they are canceled.
func hangingConn(t *testing.T) (*httpconn.ClientConn, *atomic.Int64) {
	t.Helper()
	running := new(atomic.Int64)
	trip := roundTripper(func(r *http.Request) (*http.Response, error) {
		running.Add(1)
		defer running.Add(-1)
		<-r.Context().Done()
		return nil, r.Context().Err()
	})
	return connect(t, "http://h/calc", &httpconn.DialOptions{Client: &http.Client{Transport: trip}}), running
}

// Requests that are not answered soon after the beginning of Close fail. ReadReply returns
// io.EOF only after that.
func TestCloseFailsWhatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, running := hangingConn(t)
		failed := make(chan error, 3)
		read := make(chan error, 1)
		for _, body := range []string{note, add, "[" + note + "]"} {
			fail := func(err error) {
				assert.Empty(t, read)
				failed <- err
			}
			require.NoError(t, conn.WriteRequest(jsonrpc2.NewRequest(t.Context(), []byte(body), jsonrpc2.Hooks{Fail: fail})))
		}
		go func() {
			_, err := conn.ReadReply(t.Context())
			read <- err
		}()
		synctest.Wait()
		require.EqualValues(t, 3, running.Load())
		before := time.Now()
		require.NoError(t, conn.Close())
		require.Equal(t, 2*time.Second, time.Since(before))
		require.Zero(t, running.Load())
		require.Equal(t, io.EOF, <-read)
		sentinels := make(map[error]int)
		for range cap(failed) {
			err := <-failed
			require.ErrorContains(t, err, "POST http://h/calc: the client was closed")
			sentinels[errors.Unwrap(err)]++
		}
		require.Equal(t, map[error]int{jsonrpc2.ErrUnconfirmed: 2, jsonrpc2.ErrReplyLost: 1}, sentinels)
	})
}

// The callers of a client that is closed need not wait for a notification that the
// Conn still sends.
func TestCloseSendsNotifications(t *testing.T) {
	t.Parallel()
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	client := dial(t, connect(t, s.URL, nil))
	notified := make(chan error, 1)
	go func() { notified <- jsonrpc2.Notify(t.Context(), client, "Slow.Wait", 7) }()
	call := client.Go("Slow.Wait", 7, new(int), nil)
	s.slow.RequireRunning(t, 2)
	closed := make(chan error)
	go func() { closed <- client.Close() }()
	require.ErrorIs(t, (<-call.Done).Error, rpc.ErrShutdown)
	require.EqualValues(t, 2, s.slow.Running.Load())
	s.slow.Open()
	require.NoError(t, <-closed)
	require.NoError(t, <-notified)
	servicetest.Eventually(t, func() bool { return s.slow.Ran.Load() == 2 })
}
