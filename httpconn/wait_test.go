package httpconn_test

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A visit is a request under way, without a network between.
type visit struct {
	*httptest.ResponseRecorder
	hangUp context.CancelFunc
	done   chan struct{} // closed when ServeHTTP has returned
}

func visitBy(handler http.Handler, body io.Reader) *visit { return visitWith(handler, body, nil) }

func visitWith(handler http.Handler, body io.Reader, header http.Header) *visit {
	ctx, hangUp := context.WithCancel(context.Background())
	v := &visit{httptest.NewRecorder(), hangUp, make(chan struct{})}
	r := httptest.NewRequest(http.MethodPost, "/calc", body).WithContext(ctx)
	maps.Copy(r.Header, header)
	go func() {
		defer close(v.done)
		handler.ServeHTTP(v, r)
	}()
	return v
}

func visitOf(handler http.Handler, body string) *visit {
	return visitBy(handler, strings.NewReader(body))
}

// requireWaiting requires that the request is neither answered nor refused.
func (v *visit) requireWaiting(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case <-v.done:
		require.Fail(t, "does not wait", "%d: %s", v.Code, v.Body)
	default:
	}
}

// requireDone requires that the request is done with already.
func (v *visit) requireDone(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case <-v.done:
	default:
		require.Fail(t, "still waits")
	}
}

func (v *visit) requireAnswer(t *testing.T, want string) {
	t.Helper()
	v.requireDone(t)
	require.Equal(t, http.StatusOK, v.Code, v.Body)
	require.JSONEq(t, want, v.Body.String())
}

// requireBusy requires a refusal that asks to come again.
func (v *visit) requireBusy(t *testing.T, why string) {
	t.Helper()
	v.requireDone(t)
	require.Equal(t, http.StatusServiceUnavailable, v.Code, v.Body)
	require.Equal(t, "1", v.Header().Get("Retry-After"))
	require.Equal(t, "true", v.Header().Get(httpconn.NotBegunHeader))
	require.Contains(t, v.Body.String(), why)
}

func TestMaxWait(t *testing.T) {
	for _, test := range []struct{ option, want time.Duration }{
		{0, httpconn.DefaultMaxWait},
		{time.Minute, time.Minute},
	} {
		t.Run(test.want.String(), servicetest.Bubble(func(t *testing.T) {
			// nobody serves
			handler := listen(t, &httpconn.ListenOptions{MaxWait: test.option})
			v := visitOf(handler, add)
			time.Sleep(test.want - 1)
			v.requireWaiting(t)
			time.Sleep(time.Nanosecond)
			v.requireBusy(t, "busy")
			servicetest.EventuallyEqual(t, httpconn.ServerStats{Busy: 1}, handler.Stats)
		}))
	}
}

func TestServingBeginsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler := listen(t, nil)
		v := visitOf(handler, add)
		time.Sleep(httpconn.DefaultMaxWait - 1)
		d, err := handler.ReadRequest(t.Context())
		require.NoError(t, err)
		require.Equal(t, add, string(d.Body))
		time.Sleep(time.Hour)
		v.requireWaiting(t)
		require.NoError(t, d.Reply([]byte(added)))
		v.requireAnswer(t, added)
	})
}

func TestAllPlacesTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, nil, jsonrpc2.ServerOptions{MaxInFlight: 2})
		var running []*visit
		for range 2 {
			running = append(running, visitOf(s.handler, pass))
			running[0].requireWaiting(t)
		}
		late := visitOf(s.handler, add)
		time.Sleep(httpconn.DefaultMaxWait)
		late.requireBusy(t, "busy")

		waiting := visitOf(s.handler, add)
		waiting.requireWaiting(t)
		s.slow.Open()
		waiting.requireAnswer(t, added)
		for _, v := range running {
			v.requireAnswer(t, passed)
		}
		servicetest.EventuallyEqual(t, httpconn.ServerStats{Requests: 3, Replies: 3, Busy: 1}, s.handler.Stats)
	})
}

func TestClientHangsUpBeforeItIsTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, nil, jsonrpc2.ServerOptions{MaxInFlight: 1})
		running := visitOf(s.handler, pass)
		running.requireWaiting(t)
		gone := visitOf(s.handler, pass)
		gone.requireWaiting(t)
		gone.hangUp()
		gone.requireBusy(t, "not begun")

		s.slow.Open()
		running.requireAnswer(t, passed)
		visitOf(s.handler, add).requireAnswer(t, added)
		require.EqualValues(t, 1, s.slow.Ran.Load(), "the one that is gone does not run")
		servicetest.EventuallyEqual(t, httpconn.ServerStats{Requests: 2, Replies: 2, Gone: 1}, s.handler.Stats)
	})
}

func TestClientHangsUpWhileItRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, nil, jsonrpc2.ServerOptions{MaxInFlight: 1})
		gone := visitOf(s.handler, pass)
		gone.requireWaiting(t)
		gone.hangUp()
		gone.requireDone(t)
		require.Equal(t, http.StatusGatewayTimeout, gone.Code)
		require.Empty(t, gone.Header().Get(httpconn.NotBegunHeader), "it runs on")

		waiting := visitOf(s.handler, add)
		time.Sleep(httpconn.DefaultMaxWait - 1)
		waiting.requireWaiting(t) // the place is held
		require.EqualValues(t, 1, s.slow.Running.Load())
		s.slow.Open()
		waiting.requireAnswer(t, added)
		require.EqualValues(t, 1, s.slow.Ran.Load())
		servicetest.EventuallyEqual(t, httpconn.ServerStats{Requests: 2, Replies: 1}, s.handler.Stats)
	})
}

func TestMaxWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler := listen(t, &httpconn.ListenOptions{MaxWaiting: int64(2 * len(add))})
		first, second := visitOf(handler, add), visitOf(handler, add)
		first.requireWaiting(t)
		second.requireWaiting(t)
		visitOf(handler, " ").requireBusy(t, "too many bytes wait")

		d, err := handler.ReadRequest(t.Context())
		require.NoError(t, err)
		synctest.Wait()
		third := visitOf(handler, add)
		third.requireWaiting(t) // what is taken no longer waits
		visitOf(handler, " ").requireBusy(t, "too many bytes wait")
		require.NoError(t, d.Reply(nil))

		third.hangUp()
		third.requireDone(t)
		visitOf(handler, add).requireWaiting(t) // nor does what is gone
		time.Sleep(httpconn.DefaultMaxWait)
		synctest.Wait()
		all := []*visit{visitOf(handler, add), visitOf(handler, add)}
		for _, v := range all { // nor what was refused
			v.requireWaiting(t)
		}
		require.NoError(t, handler.Close())
		for _, v := range all {
			v.requireBusy(t, "shutting down")
		}
	})
}

// MaxWaiting counts the bytes that were read of a body, not its Content-Length.
func TestMaxWaitingOfOneBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler := listen(t, &httpconn.ListenOptions{MaxWaiting: 1000})
		visitOf(handler, strings.Repeat(" ", 1001)).requireBusy(t, "too many bytes wait")

		r, w := io.Pipe()
		slow := visitBy(handler, r)
		_, err := io.WriteString(w, strings.Repeat(" ", 600))
		require.NoError(t, err)
		slow.requireWaiting(t)
		visitOf(handler, strings.Repeat(" ", 401)).requireBusy(t, "too many bytes wait")
		small := visitOf(handler, strings.Repeat(" ", 400))
		small.requireWaiting(t)
		_, err = io.WriteString(w, " ")
		require.NoError(t, err)
		slow.requireBusy(t, "too many bytes wait")
		_ = w.Close()
		require.NoError(t, handler.Close())
		small.requireBusy(t, "shutting down")
		servicetest.EventuallyEqual(t, httpconn.ServerStats{Busy: 4}, handler.Stats)
	})
}

func TestBodyIsCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, &httpconn.ListenOptions{MaxWaiting: int64(len(add))}, jsonrpc2.ServerOptions{})
		r, w := io.Pipe()
		v := visitBy(s.handler, r)
		_, err := io.WriteString(w, add)
		require.NoError(t, err)
		v.requireWaiting(t)
		_ = w.CloseWithError(io.ErrUnexpectedEOF)
		v.requireDone(t)
		require.Equal(t, http.StatusBadRequest, v.Code)
		require.Equal(t, "true", v.Header().Get(httpconn.NotBegunHeader))
		require.Contains(t, v.Body.String(), "the body broke off: unexpected EOF")
		servicetest.EventuallyEqual(t, httpconn.ServerStats{Gone: 1}, s.handler.Stats)
		visitOf(s.handler, add).requireAnswer(t, added) // has room
	})
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, nil, jsonrpc2.ServerOptions{MaxInFlight: 2})
		running := []*visit{visitOf(s.handler, pass), visitOf(s.handler, pass)}
		running[0].requireWaiting(t)
		waiting := visitOf(s.handler, add)
		waiting.requireWaiting(t)

		s.Drain()
		waiting.requireBusy(t, "shutting down")
		visitOf(s.handler, add).requireBusy(t, "shutting down")
		select {
		case <-s.Done:
			require.Fail(t, "Serve does not wait for the running calls")
		default:
		}

		s.slow.Open()
		for _, v := range running {
			v.requireAnswer(t, passed)
		}
		<-s.Done
		require.NoError(t, s.Err)
		visitOf(s.handler, add).requireBusy(t, "shutting down")
		servicetest.EventuallyEqual(t, httpconn.ServerStats{Requests: 2, Replies: 2, Busy: 3}, s.handler.Stats)
	})
}

// The drain is seen while the codec waits for places for the rest of a batch.
func TestDrainInBatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, nil, jsonrpc2.ServerOptions{MaxInFlight: 1})
		batch := visitOf(s.handler, "["+pass+","+pass+"]")
		batch.requireWaiting(t)
		waiting := visitOf(s.handler, add)
		waiting.requireWaiting(t)
		s.Drain()
		waiting.requireBusy(t, "shutting down")
		s.slow.Open()
		batch.requireAnswer(t, "["+passed+","+passed+"]")
		<-s.Done
	})
}

func TestCloseOfAHandler(t *testing.T) {
	t.Run("idle", servicetest.Bubble(func(t *testing.T) {
		handler := listen(t, nil)
		waiting := visitOf(handler, add)
		waiting.requireWaiting(t)
		before := time.Now()
		require.NoError(t, handler.Close())
		require.NoError(t, handler.Close())
		require.Equal(t, before, time.Now())
		waiting.requireBusy(t, "shutting down")
		visitOf(handler, add).requireBusy(t, "shutting down")
		_, err := handler.ReadRequest(context.Background())
		require.ErrorIs(t, err, io.EOF)
	}))
	t.Run("waits for the last answer", servicetest.Bubble(func(t *testing.T) {
		handler := listen(t, nil)
		v := visitOf(handler, add)
		d, err := handler.ReadRequest(t.Context())
		require.NoError(t, err)
		closed := make(chan error)
		go func() { closed <- handler.Close() }()
		time.Sleep(time.Second)
		v.requireWaiting(t)
		require.NoError(t, d.Reply([]byte(added)))
		require.NoError(t, <-closed)
		v.requireAnswer(t, added)
	}))
	t.Run("but not for long", servicetest.Bubble(func(t *testing.T) {
		handler := listen(t, nil)
		v := visitOf(handler, add)
		d, err := handler.ReadRequest(t.Context())
		require.NoError(t, err)
		before := time.Now()
		require.NoError(t, handler.Close())
		require.Equal(t, 2*time.Second, time.Since(before))
		v.requireWaiting(t)
		require.NoError(t, d.Reply([]byte(added)))
		v.requireAnswer(t, added)
	}))
}
