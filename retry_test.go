package jsonrpc2_test

import (
	"cmp"
	"context"
	"fmt"
	"net/rpc"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A retrying is a client over a Retry, in a synctest bubble.
type retrying struct {
	conn   *moodyConn
	client *rpc.Client
	stats  *jsonrpc2.ClientStats
	counts *jsonrpc2.RetryStats
	begun  time.Time
}

// A moodyConn is a Conn in memory that does with each request what a test says.
type moodyConn struct {
	*scriptedClient
	handle func(n int, r *jsonrpc2.Request) error // n counts from 1

	closing context.Context // done when Close is called
	close   context.CancelFunc

	mu        sync.Mutex // protects following
	at        []time.Time
	bodies    []string
	broken    error
	withdraws error
	inquired  int
}

func (c *moodyConn) WriteRequest(r *jsonrpc2.Request) error {
	c.mu.Lock()
	c.at = append(c.at, time.Now())
	c.bodies = append(c.bodies, string(r.Body))
	n := len(c.at)
	c.mu.Unlock()
	return c.handle(n, r)
}

func (c *moodyConn) Close() error {
	c.close()
	synctest.Wait()
	return c.scriptedClient.Close()
}

func (c *moodyConn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

func (c *moodyConn) Inquire(_ context.Context, requests []*jsonrpc2.Request) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.inquired += len(requests)
	found := make([]error, len(requests))
	for i := range found {
		found[i] = c.withdraws
	}
	return found
}

func (c *moodyConn) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func (c *moodyConn) written() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bodies)
}

// tries returns how many there were, and requires that all had the same text.
func (c *moodyConn) tries(t *testing.T) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, body := range c.bodies {
		require.Equal(t, c.bodies[0], body)
	}
	return len(c.bodies)
}

// answerCall answers a request. It may be called inside WriteRequest.
func (c *moodyConn) answerCall(r *jsonrpc2.Request) {
	go c.answer(fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":true}`, r.ID()))
}

func newMoodyConn() *moodyConn {
	c := &moodyConn{scriptedClient: newScriptedClient()}
	c.closing, c.close = context.WithCancel(context.Background())
	return c
}

func newRetrying(t *testing.T, opts jsonrpc2.RetryOptions, handle func(c *moodyConn, n int, r *jsonrpc2.Request) error) *retrying {
	s := &retrying{
		conn:   newMoodyConn(),
		stats:  new(jsonrpc2.ClientStats),
		counts: new(jsonrpc2.RetryStats),
		begun:  time.Now(),
	}
	s.conn.handle = func(n int, r *jsonrpc2.Request) error { return handle(s.conn, n, r) }
	opts.Stats = s.counts
	s.client = jsonrpc2.NewClient(jsonrpc2.Retry(s.conn, &opts), &jsonrpc2.ClientOptions{Logger: servicetest.Quiet, Stats: s.stats})
	t.Cleanup(func() { _ = s.client.Close() })
	return s
}

func (s *retrying) call(ctx context.Context) error {
	_, err := jsonrpc2.Call[any](ctx, s.client, "Test.Call", nil)
	return err
}

// refusing refuses the first n tries with an error: as WriteRequest does, or later by Fail.
func refusing(n int, err error, later bool) func(*moodyConn, int, *jsonrpc2.Request) error {
	return func(c *moodyConn, try int, r *jsonrpc2.Request) error {
		switch {
		case try > n && r.IsNotification():
			r.Sent()
		case try > n:
			c.answerCall(r)
		case later:
			time.AfterFunc(time.Millisecond, func() { r.Fail(err) })
		default:
			return err
		}
		return nil
	}
}

// What certainly did not run is sent again, with the same text and id, after growing
// delays. The caller sees nothing of it.
func TestRetryUntilItRuns(t *testing.T) {
	for _, refusal := range []error{jsonrpc2.ErrUnavailable, jsonrpc2.ErrNoServer, jsonrpc2.ErrOverloaded, errBroken} {
		for _, later := range []bool{false, true} {
			for _, notify := range []bool{false, true} {
				if later && refusal == errBroken { // of a request that was accepted it says nothing
					continue
				}
				name := fmt.Sprintf("%v, later %t, notification %t", refusal, later, notify)
				t.Run(name, servicetest.Bubble(func(t *testing.T) {
					s := newRetrying(t, jsonrpc2.RetryOptions{}, refusing(7, refusal, later))
					if notify {
						require.NoError(t, jsonrpc2.Notify(t.Context(), s.client, "Test.Call", nil))
					} else {
						require.NoError(t, s.call(t.Context()))
					}
					require.Equal(t, 8, s.conn.tries(t))
					most := []time.Duration{50, 100, 200, 400, 800, 1000, 1000}
					for i, d := range most {
						pause := s.conn.at[i+1].Sub(s.conn.at[i])
						require.LessOrEqual(t, pause, d*time.Millisecond+time.Millisecond)
						require.GreaterOrEqual(t, pause, d/2*time.Millisecond)
					}
					require.Equal(t, jsonrpc2.RetryCounts{Requests: 1, Resent: 7}, s.counts.Snapshot())
				}))
			}
		}
	}
}

// What is not to be sent again fails at once, with its error.
func TestRetryNotAllowed(t *testing.T) {
	for _, test := range []struct {
		policy jsonrpc2.RetryPolicy
		errs   []error
	}{
		{jsonrpc2.RetryPolicy{}, []error{
			jsonrpc2.ErrReplyLost, jsonrpc2.ErrTimeout, jsonrpc2.ErrTooLarge, jsonrpc2.ErrBadReply, jsonrpc2.ErrReplyTooLarge,
		}},
		{jsonrpc2.RetryPolicy{After: time.Second}, []error{jsonrpc2.ErrReplyLost}},
		{jsonrpc2.RetryPolicy{Idempotent: true}, []error{jsonrpc2.ErrTooLarge, jsonrpc2.ErrBadReply, jsonrpc2.ErrReplyTooLarge}},
	} {
		for _, failure := range test.errs {
			t.Run(fmt.Sprint(test.policy, failure), servicetest.Bubble(func(t *testing.T) {
				s := newRetrying(t, jsonrpc2.RetryOptions{RetryPolicy: test.policy}, refusing(1, failure, true))
				err := s.call(t.Context())
				require.EqualError(t, err, failure.Error())
				require.Equal(t, time.Millisecond, time.Since(s.begun))
				require.Equal(t, jsonrpc2.RetryCounts{Requests: 1}, s.counts.Snapshot())
			}))
		}
	}
}

// An Idempotent call is sent again also if it may have run: by the options, or by its ctx.
func TestRetryIdempotent(t *testing.T) {
	for _, byCtx := range []bool{false, true} {
		for _, failure := range []error{jsonrpc2.ErrReplyLost, jsonrpc2.ErrTimeout, errBroken} {
			t.Run(fmt.Sprint(byCtx, failure), servicetest.Bubble(func(t *testing.T) {
				policy, ctx := jsonrpc2.RetryPolicy{Idempotent: true}, t.Context()
				if byCtx {
					ctx, policy = jsonrpc2.WithRetryPolicy(ctx, policy), jsonrpc2.RetryPolicy{}
				}
				s := newRetrying(t, jsonrpc2.RetryOptions{RetryPolicy: policy}, refusing(3, failure, true))
				require.NoError(t, s.call(ctx))
				require.Equal(t, 4, s.conn.tries(t))
				require.Equal(t, jsonrpc2.RetryCounts{Requests: 1, Repeated: 3}, s.counts.Snapshot())
			}))
		}
	}
	t.Run("notification", servicetest.Bubble(func(t *testing.T) {
		s := newRetrying(t, jsonrpc2.RetryOptions{RetryPolicy: jsonrpc2.RetryPolicy{Idempotent: true}}, refusing(3, jsonrpc2.ErrUnconfirmed, true))
		require.NoError(t, jsonrpc2.Notify(t.Context(), s.client, "Test.Call", nil))
		require.Equal(t, 4, s.conn.tries(t))
	}))
}

// The error of the last try is no sentinel for what did not run if an earlier one may have.
func TestRetryTellsTheTruth(t *testing.T) {
	for _, notify := range []bool{false, true} {
		t.Run(fmt.Sprint(notify), servicetest.Bubble(func(t *testing.T) {
			first := jsonrpc2.ErrReplyLost
			if notify {
				first = jsonrpc2.ErrUnconfirmed
			}
			s := newRetrying(t, jsonrpc2.RetryOptions{RetryPolicy: jsonrpc2.RetryPolicy{Idempotent: true}},
				func(_ *moodyConn, n int, r *jsonrpc2.Request) error {
					if n > 1 {
						return jsonrpc2.ErrTooLarge
					}
					r.Fail(first)
					return nil
				})
			var err error
			if notify {
				err = jsonrpc2.Notify(t.Context(), s.client, "Test.Call", nil)
			} else {
				err = s.call(t.Context())
			}
			require.ErrorIs(t, err, first)
			require.NotErrorIs(t, err, jsonrpc2.ErrTooLarge)
			require.ErrorContains(t, err, "an earlier try may have run; the last of 2: jsonrpc2: too large")
		}))
	}
}

// A call ends by its deadline: before a try that would come after it, with the error of the
// last one.
func TestRetryDeadline(t *testing.T) {
	for name, test := range map[string]struct {
		timeout time.Duration
		tries   int
	}{
		"no time for a second": {20 * time.Millisecond, 1},
		"some tries":           {10 * time.Second, 15},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			s := newRetrying(t, jsonrpc2.RetryOptions{}, refusing(1000, jsonrpc2.ErrNoServer, false))
			ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
			defer cancel()
			err := s.call(ctx)
			require.ErrorIs(t, err, jsonrpc2.ErrNoServer)
			require.ErrorContains(t, err, "deadline is too near")
			require.NoError(t, ctx.Err(), "it need not wait in vain")
			require.GreaterOrEqual(t, time.Since(s.begun), test.timeout-time.Second)
			require.InDelta(t, test.tries, s.conn.tries(t), 5)
			if tries := s.conn.tries(t); tries > 1 {
				require.ErrorContains(t, err, fmt.Sprintf("it was tried %d times", tries))
			}
			require.EqualValues(t, 1, s.stats.Snapshot().Unsent)
		}))
	}
}

// A call whose caller gives up is not sent again. It did not run, and the error says so.
func TestRetryGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRetrying(t, jsonrpc2.RetryOptions{}, refusing(1000, jsonrpc2.ErrUnavailable, false))
		canceled, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Second, cancel)
		require.ErrorIs(t, s.call(canceled), context.Canceled)
		tries := s.conn.tries(t)
		time.Sleep(time.Minute)
		require.Equal(t, tries, s.conn.tries(t))
	})
	synctest.Test(t, func(t *testing.T) {
		s := newRetrying(t, jsonrpc2.RetryOptions{}, refusing(1000, jsonrpc2.ErrUnavailable, false))
		for _, limit := range []time.Duration{0, 5 * time.Second} {
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if limit > 0 {
				ctx, cancel = context.WithTimeout(ctx, limit)
			}
			begun := time.Now()
			err := jsonrpc2.Notify(ctx, s.client, "Test.Call", nil)
			cancel()
			require.ErrorIs(t, err, jsonrpc2.ErrUnavailable, "it certainly was not sent")
			require.InDelta(t, cmp.Or(limit, jsonrpc2.DefaultTimeout).Seconds()-0.5, time.Since(begun).Seconds(), 0.5)
		}
	})
}

// An inquiry about a call that waits for its next try tells that it did not run.
func TestRetryInquiry(t *testing.T) {
	for name, test := range map[string]struct {
		first  error
		notRun bool
	}{
		"waits to be sent again": {jsonrpc2.ErrUnavailable, true},
		"may have run":           {jsonrpc2.ErrReplyLost, false},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			conn := newMoodyConn()
			conn.withdraws = jsonrpc2.ErrNotRun
			retry := jsonrpc2.Retry(conn, &jsonrpc2.RetryOptions{RetryPolicy: jsonrpc2.RetryPolicy{Idempotent: true}})
			require.NoError(t, retry.Open(jsonrpc2.Settings{}))
			conn.handle = func(n int, r *jsonrpc2.Request) error {
				if n == 1 {
					r.Fail(test.first)
				}
				return nil // and no answer comes
			}
			ctx, cancel := context.WithCancel(t.Context())
			r := jsonrpc2.NewRequest(ctx, []byte(addOne), jsonrpc2.Hooks{})
			require.NoError(t, retry.WriteRequest(r))
			time.Sleep(time.Second)
			require.Equal(t, 2, conn.tries(t))
			cancel()
			synctest.Wait()
			found := retry.Inquire(t.Context(), []*jsonrpc2.Request{r})
			require.Len(t, found, 1)
			if test.notRun {
				require.ErrorIs(t, found[0], jsonrpc2.ErrNotRun)
			} else {
				require.EqualError(t, found[0], "the last try was withdrawn, but an earlier one may have run")
			}
			require.NoError(t, retry.Close())
		}))
	}
}

// Where no answer comes, After has the call withdrawn and sent again. The first answer
// counts.
func TestRetryAfter(t *testing.T) {
	policy := jsonrpc2.RetryPolicy{Idempotent: true, After: 2 * time.Second}
	for name, test := range map[string]struct {
		withdraws error
		want      jsonrpc2.RetryCounts
	}{
		"withdrawn":     {jsonrpc2.ErrNotRun, jsonrpc2.RetryCounts{Requests: 1, Resent: 2}},
		"not withdrawn": {nil, jsonrpc2.RetryCounts{Requests: 1, Repeated: 2}},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			var first *jsonrpc2.Request
			s := newRetrying(t, jsonrpc2.RetryOptions{RetryPolicy: policy}, func(c *moodyConn, n int, r *jsonrpc2.Request) error {
				switch n {
				case 1:
					first = r
				case 3:
					c.answerCall(first)
					c.answerCall(first)
				}
				return nil
			})
			s.conn.withdraws = test.withdraws
			require.NoError(t, s.call(t.Context()))
			require.Equal(t, 4*time.Second, time.Since(s.begun))
			require.True(t, first.GivenUp())
			synctest.Wait()
			require.Equal(t, 2, s.conn.inquired)
			require.Equal(t, test.want, s.counts.Snapshot())
			require.EqualValues(t, 1, s.stats.Snapshot().Dropped, "the second answer")
		}))
	}
	t.Run("while the Conn is away", servicetest.Bubble(func(t *testing.T) {
		s := newRetrying(t, jsonrpc2.RetryOptions{RetryPolicy: policy}, refusing(1, nil, false))
		s.conn.broken = errBroken
		time.AfterFunc(10*time.Second, func() { s.conn.set(func() { s.conn.broken = nil }) })
		require.NoError(t, s.call(t.Context()))
		require.InDelta(t, 10, time.Since(s.begun).Seconds(), 1)
		require.Equal(t, 2, s.conn.tries(t))
	}))
	t.Run("notification", servicetest.Bubble(func(t *testing.T) {
		s := newRetrying(t, jsonrpc2.RetryOptions{RetryPolicy: policy}, refusing(1, nil, false))
		require.ErrorIs(t, jsonrpc2.Notify(t.Context(), s.client, "Test.Call", nil), jsonrpc2.ErrTimeout)
		require.Equal(t, 1, s.conn.tries(t), "it waits for no answer")
	}))
}

// What a broker or a peer refuses, or may have seen, is sent again within a budget; what
// waits for a connection is not counted.
func TestRetryBudget(t *testing.T) {
	const calls = 1000
	for name, test := range map[string]struct {
		failure error
		broken  error
		bounded bool
	}{
		"overloaded":           {jsonrpc2.ErrOverloaded, nil, true},
		"reply lost":           {jsonrpc2.ErrReplyLost, nil, true},
		"refused":              {jsonrpc2.ErrUnavailable, nil, true},
		"waits for connection": {jsonrpc2.ErrUnavailable, errBroken, false},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			s := newRetrying(t, jsonrpc2.RetryOptions{RetryPolicy: jsonrpc2.RetryPolicy{Idempotent: true}}, refusing(calls, test.failure, true))
			s.conn.broken = test.broken
			var callers sync.WaitGroup
			for range calls {
				callers.Go(func() {
					if err := s.call(t.Context()); err != nil {
						require.ErrorIs(t, err, test.failure)
						require.ErrorContains(t, err, "too many are sent again already")
					}
				})
			}
			callers.Wait()
			counts, ends := s.counts.Snapshot(), s.stats.Snapshot()
			require.EqualValues(t, calls, counts.Requests)
			require.Equal(t, ends.Answered, counts.Resent+counts.Repeated)
			require.EqualValues(t, calls, ends.Answered+ends.Unsent+ends.RepliesLost)
			if test.bounded { // a tenth, a hundred at once, and ten a second
				require.InDelta(t, calls/10+100+10*30, ends.Answered, 15)
				require.Greater(t, counts.Withheld, ends.Unsent+ends.RepliesLost)
			} else {
				require.EqualValues(t, calls, counts.Resent)
			}
		}))
	}
}

// The tries of many calls that wait for a connection level off: each caller makes about one
// a second.
func TestRetryLevelsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const callers = 100
		s := newRetrying(t, jsonrpc2.RetryOptions{}, refusing(1<<30, jsonrpc2.ErrUnavailable, false))
		s.conn.broken = errBroken
		var wg sync.WaitGroup
		for range callers {
			wg.Go(func() { require.ErrorIs(t, s.call(t.Context()), jsonrpc2.ErrUnavailable) })
		}
		wg.Wait()
		perSecond := make(map[int]int)
		for _, at := range s.conn.at {
			perSecond[int(at.Sub(s.begun)/time.Second)]++
		}
		for second := 3; second < 28; second++ {
			require.LessOrEqual(t, perSecond[second], 2*callers)
		}
	})
}

// 16 MiB may wait to be sent again.
func TestRetryMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newRetrying(t, jsonrpc2.RetryOptions{}, refusing(1<<30, jsonrpc2.ErrUnavailable, false))
		s.conn.broken = errBroken
		args := []string{strings.Repeat("x", 1<<20)}
		var calls []*rpc.Call
		for range 20 {
			calls = append(calls, s.client.Go("Test.Call", args, nil, make(chan *rpc.Call, 1)))
		}
		synctest.Wait()
		refused := 0
		for _, call := range calls {
			select {
			case <-call.Done:
				refused++
				require.ErrorContains(t, call.Error, "jsonrpc2: not sent; 16 MiB wait to be sent again already")
			default:
			}
		}
		require.Equal(t, 5, refused, "a request is a little longer than 1 MiB")
	})
}

// Close ends what waits for its next try, at once: a notification certainly did not run.
func TestRetryClose(t *testing.T) {
	for name, test := range map[string]struct {
		later   bool
		onClose error // what the Conn fails its requests with when it is closed; nil: it does not
		want    error
	}{
		"waits":                {false, nil, jsonrpc2.ErrUnavailable},
		"a try is in progress": {true, nil, jsonrpc2.ErrUnconfirmed},
		"a try fails":          {true, jsonrpc2.ErrUnavailable, jsonrpc2.ErrUnavailable},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			s := newRetrying(t, jsonrpc2.RetryOptions{}, func(c *moodyConn, _ int, r *jsonrpc2.Request) error {
				switch {
				case !test.later:
					return jsonrpc2.ErrUnavailable
				case test.onClose != nil:
					context.AfterFunc(c.closing, func() { r.Fail(test.onClose) })
				}
				return nil
			})
			ended := make(chan error, 2)
			go func() { ended <- jsonrpc2.Notify(t.Context(), s.client, "Test.Call", nil) }()
			go func() { ended <- s.call(t.Context()) }()
			time.Sleep(time.Second)
			begun := time.Now()
			require.NoError(t, s.client.Close())
			for range 2 {
				err := <-ended
				if !isReplyLost(err) { // the call, as net/rpc ends it
					require.ErrorIs(t, err, test.want)
				}
			}
			require.Equal(t, begun, time.Now())
			tries := len(s.conn.at)
			time.Sleep(time.Minute)
			require.Len(t, s.conn.at, tries)
		}))
	}
}

func isReplyLost(err error) bool {
	return err != nil && strings.HasPrefix(err.Error(), jsonrpc2.ErrReplyLost.Error())
}

// A transport sees the headers and the context values of a request through each try, and may
// answer the try.
func TestRetryPassesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := make(map[string]string)
		s := newRetrying(t, jsonrpc2.RetryOptions{}, func(c *moodyConn, _ int, r *jsonrpc2.Request) error {
			r.EachHeader(func(name, value string) { seen[name] = value })
			require.Equal(t, "value", r.Context().Value(ctxKey{}))
			go func() {
				c.messages <- jsonrpc2.Reply{Body: []byte(`{"jsonrpc":"2.0","id":null,"error":{"code":7,"message":"no id"}}`), Request: r}
			}()
			return nil
		})
		ctx := jsonrpc2.WithMeta(context.WithValue(t.Context(), ctxKey{}, "value"), jsonrpc2.Meta{"traceparent": "00-1-2-3"})
		answer, ok := jsonrpc2.AsError(s.call(ctx))
		require.True(t, ok)
		require.EqualValues(t, 7, answer.Code)
		require.Equal(t, map[string]string{"traceparent": "00-1-2-3"}, seen)
	})
}

type ctxKey struct{}
