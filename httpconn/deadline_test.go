package httpconn_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A Watch has methods that look at the contexts of their calls.
type Watch struct {
	began chan context.Context
	ended chan error
}

func newWatch() *Watch { return &Watch{make(chan context.Context, 10), make(chan error, 10)} }

type WatchArgs struct {
	jsonrpc2.Context
	N int
}

// Wait waits until its context is done.
func (w *Watch) Wait(args WatchArgs, _ *int) error {
	w.began <- args
	<-args.Done()
	w.ended <- args.Err()
	return args.Err()
}

// timeoutHeader is a header with a timeout, "" for none.
func timeoutHeader(text string) http.Header {
	if text == "" {
		return nil
	}
	return http.Header{httpconn.TimeoutHeader: {text}}
}

func TestHandlerReadsTheTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"":           -1, // none
		"0":          0,
		"1":          time.Millisecond,
		"30000":      30 * time.Second,
		"007":        7 * time.Millisecond,
		"4294967295": 4294967295 * time.Millisecond,

		"4294967296":           -1,
		"99999999999999999999": -1,
		"-1":                   -1,
		"-0":                   -1,
		"+1":                   -1,
		"1.5":                  -1,
		"1e3":                  -1,
		"0x10":                 -1,
		"1 ":                   -1,
		"1s":                   -1,
		"soon":                 -1,
	} {
		t.Run(text, servicetest.Bubble(func(t *testing.T) {
			handler := listen(t, nil)
			v := visitWith(handler, strings.NewReader(add), timeoutHeader(text))
			begin := time.Now()
			v.requireWaiting(t)
			time.Sleep(time.Second)
			d, err := handler.ReadRequest(t.Context())
			require.NoError(t, err)
			require.Equal(t, want < 0, d.Deadline.IsZero(), d.Deadline)
			if want >= 0 {
				require.Equal(t, want, d.Deadline.Sub(begin), "counts from when it came")
			}
			require.NoError(t, d.Context.Err())
			require.NoError(t, d.Reply([]byte(added)))
			v.requireAnswer(t, added)
		}))
	}
}

// A request that waits for its place until nobody waits for it is not run.
func TestGivenUpWhileItWaits(t *testing.T) {
	for name, test := range map[string]struct {
		timeout string
		body    string
		expired int64
	}{
		"too late":           {"999", pass, 1},
		"batch, too late":    {"999", "[" + pass + "," + pass + "]", 2},
		"notification":       {"999", `{"jsonrpc":"2.0","method":"Slow.Wait","params":[7]}`, 1},
		"over when it came":  {"0", pass, 1},
		"in time":            {"1001", pass, 0},
		"with nothing known": {"", pass, 0},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			stats := new(jsonrpc2.ServerStats)
			s := serve(t, nil, jsonrpc2.ServerOptions{MaxInFlight: 1, Stats: stats})
			running := visitOf(s.handler, pass)
			running.requireWaiting(t)
			waiting := visitWith(s.handler, strings.NewReader(test.body), timeoutHeader(test.timeout))
			time.Sleep(time.Second)
			waiting.requireWaiting(t)
			s.slow.Open()
			running.requireAnswer(t, passed)
			waiting.requireDone(t)
			require.Equal(t, test.expired, stats.Snapshot().Expired)
			if test.expired == 0 {
				waiting.requireAnswer(t, passed)
				require.EqualValues(t, 2, s.slow.Ran.Load())
			} else {
				waiting.requireBusy(t, "not begun") // a 204 would say that a notification has run
				require.Equal(t, "true", waiting.Header().Get(httpconn.NotBegunHeader))
				require.EqualValues(t, 1, s.slow.Ran.Load())
			}
			visitOf(s.handler, add).requireAnswer(t, added)
		}))
	}
}

// Notifications are answered when they have begun, and their methods outlive that answer. A
// Handler once answered when the method had ended, and Notify waited for as long.
func TestNotificationIsAnsweredWhenItHasBegun(t *testing.T) {
	note := `{"jsonrpc":"2.0","method":"Watch.Wait","params":{"N":1}}`
	call := `{"jsonrpc":"2.0","id":1,"method":"add","params":[1,5.1]}`
	for name, test := range map[string]struct {
		body string
		runs int
		ends bool // the answer comes when all has ended
	}{
		"one":            {note, 1, false},
		"a batch":        {"[" + note + "," + note + "]", 2, false},
		"beside a call":  {"[" + note + "," + call + "]", 1, true},
		"beside no call": {"[" + note + `,{"jsonrpc":"2.0","id":7,"result":5}]`, 1, true},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			w := newWatch()
			s := serve(t, nil, jsonrpc2.ServerOptions{}, w)
			v := visitOf(s.handler, test.body)
			var running []context.Context
			for range test.runs {
				running = append(running, <-w.began)
			}
			if test.ends {
				v.requireWaiting(t)
			} else {
				v.requireDone(t)
				require.Equal(t, http.StatusNoContent, v.Code)
			}
			v.hangUp() // net/http ends the context with the answer, too
			synctest.Wait()
			for _, ctx := range running {
				require.Equal(t, test.ends, ctx.Err() != nil)
			}
		}))
	}
}

// A method sees the deadline of its call, and that its caller has given up.
func TestContextOfACall(t *testing.T) {
	t.Parallel()
	w := newWatch()
	s := newSite(t, nil, jsonrpc2.ServerOptions{}, w)
	client := dialWith(t, connect(t, s.URL, nil), jsonrpc2.ClientOptions{Timeout: -1})
	call := func(ctx context.Context) <-chan error {
		failed := make(chan error, 1)
		go func() {
			_, err := jsonrpc2.Call[int](ctx, client, "Watch.Wait", WatchArgs{N: 7})
			failed <- err
		}()
		return failed
	}
	t.Run("canceled", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		want, _ := ctx.Deadline()
		failed := call(ctx)
		seen := <-w.began
		deadline, ok := seen.Deadline()
		require.True(t, ok)
		require.WithinRange(t, deadline, want, want.Add(20*time.Second))
		require.NoError(t, seen.Err())
		require.NotNil(t, seen.Value(http.ServerContextKey), "what is in the request's context")
		cancel()
		require.ErrorIs(t, <-w.ended, context.Canceled)
		require.ErrorIs(t, <-failed, context.Canceled)
	})
	t.Run("without a deadline", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		failed := call(ctx)
		_, ok := (<-w.began).Deadline()
		require.False(t, ok)
		cancel()
		require.ErrorIs(t, <-w.ended, context.Canceled)
		require.ErrorIs(t, <-failed, context.Canceled)
	})
	t.Run("the client is closed", func(t *testing.T) {
		other := dialWith(t, connect(t, s.URL, nil), jsonrpc2.ClientOptions{Timeout: -1})
		other.Go("Watch.Wait", WatchArgs{}, new(int), nil)
		<-w.began
		require.NoError(t, other.Close())
		require.ErrorIs(t, <-w.ended, context.Canceled)
	})
}

// A method sees the deadline also where its client does not hang up.
func TestContextAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch()
		s := serve(t, nil, jsonrpc2.ServerOptions{}, w)
		begin := time.Now()
		v := visitWith(s.handler, strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"Watch.Wait"}`), timeoutHeader("5000"))
		require.ErrorIs(t, <-w.ended, context.DeadlineExceeded)
		require.Equal(t, 5*time.Second, time.Since(begin))
		v.requireAnswer(t, `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"context deadline exceeded"}}`)
	})
}

// echoHeaders answers each request, and tells with which headers it came.
func echoHeaders(headers chan<- http.Header) roundTripper {
	return func(r *http.Request) (*http.Response, error) {
		headers <- r.Header
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		var h jsonrpc2.Header
		h.Scan(body)
		if !h.WantsAnswer() {
			return &http.Response{StatusCode: http.StatusNoContent, Body: http.NoBody}, nil
		}
		answer := fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":7}`, h.ID())
		if body[0] == '[' {
			answer = "[" + answer + "]"
		}
		return &http.Response{
			StatusCode:    http.StatusOK,
			ContentLength: int64(len(answer)),
			Body:          io.NopCloser(strings.NewReader(answer)),
		}, nil
	}
}

func TestClientSendsTheTimeout(t *testing.T) {
	const none = ""
	within := func(d time.Duration) func(t *testing.T) context.Context {
		return func(t *testing.T) context.Context {
			ctx, cancel := context.WithTimeout(context.Background(), d)
			t.Cleanup(cancel)
			return ctx
		}
	}
	for name, test := range map[string]struct {
		timeout time.Duration // the client's
		ctx     func(t *testing.T) context.Context
		want    string
	}{
		"default":              {0, nil, "30000"},
		"set":                  {time.Minute, nil, "60000"},
		"none":                 {-1, nil, none},
		"of the call":          {0, within(5 * time.Second), "5000"},
		"of the call alone":    {-1, within(5 * time.Second), "5000"},
		"parts of one":         {1500 * time.Microsecond, nil, "2"},
		"less than one":        {time.Microsecond, nil, "1"},
		"as long as there are": {200 * 24 * time.Hour, nil, "17280000000"},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			headers := make(chan http.Header, 10)
			opts := &httpconn.DialOptions{Client: &http.Client{Transport: echoHeaders(headers)}}
			client := dialWith(t, connect(t, "http://h/calc", opts), jsonrpc2.ClientOptions{Timeout: test.timeout})
			ctx := context.Background()
			if test.ctx != nil {
				ctx = test.ctx(t)
			}
			for range 2 {
				_, err := jsonrpc2.Call[int](ctx, client, "Calc.Add", nil)
				require.NoError(t, err)
				require.Equal(t, test.want, (<-headers).Get(httpconn.TimeoutHeader))
			}
			require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Calc.Add", nil))
			require.Empty(t, (<-headers)[httpconn.TimeoutHeader], "nobody waits for a notification")
		}))
	}
}

// The header says how much time is left. A call that has no time left is not sent.
func TestClientSendsWhatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		headers := make(chan http.Header, 10)
		conn := connect(t, "http://h/calc", &httpconn.DialOptions{Client: &http.Client{Transport: echoHeaders(headers)}})
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, call := range []struct {
			after time.Duration
			want  string
		}{
			{0, "60000"},
			{0, "60000"},
			{10 * time.Second, "50000"},
			{time.Nanosecond, "50000"},
			{time.Millisecond, "49999"},
		} {
			time.Sleep(call.after)
			require.NoError(t, conn.WriteRequest(jsonrpc2.NewRequest(ctx, []byte(add), jsonrpc2.Hooks{})))
			require.Equal(t, call.want, (<-headers).Get(httpconn.TimeoutHeader))
			_, err := conn.ReadReply(t.Context())
			require.NoError(t, err)
		}
		time.Sleep(time.Minute)
		require.NoError(t, conn.WriteRequest(jsonrpc2.NewRequest(ctx, []byte(add), jsonrpc2.Hooks{})))
		synctest.Wait()
		require.Empty(t, headers)
	})
}

// The option Header may remove the timeout, or set another one.
func TestHeaderChangesTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		headers := make(chan http.Header, 10)
		conn := connect(t, "http://h/calc", &httpconn.DialOptions{
			Client: &http.Client{Transport: echoHeaders(headers)},
			Header: func(_ context.Context, header http.Header) {
				if header.Get(httpconn.TimeoutHeader) != "30000" { // each has its own
					panic(header)
				}
				header.Del(httpconn.TimeoutHeader)
			},
		})
		client := dial(t, conn)
		for range 2 {
			_, err := jsonrpc2.Call[int](t.Context(), client, "Calc.Add", nil)
			require.NoError(t, err)
			require.NotContains(t, <-headers, httpconn.TimeoutHeader)
		}
	})
}

// If the Client is given, each request has a header of its own: the Client adds its cookies
// to it.
func TestGivenClientWithCookies(t *testing.T) {
	t.Parallel()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	s := newSite(t, nil, jsonrpc2.ServerOptions{})
	given := &http.Client{Jar: jar, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		cookies := len(r.CookiesNamed("session"))
		response, err := s.Client().Transport.RoundTrip(r)
		if err == nil {
			response.Header.Set("Set-Cookie", "session=1")
			if cookies > 1 {
				response.StatusCode = http.StatusBadRequest
			}
		}
		return response, err
	})}
	for _, timeout := range []time.Duration{0, -1} {
		client := dialWith(t, connect(t, s.URL, &httpconn.DialOptions{Client: given}), jsonrpc2.ClientOptions{Timeout: timeout})
		servicetest.RequireManyAdds(t, client, 16, 10)
	}
}
