package jsonrpc2_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A batch that is sent again has only those of its requests that have not ended.
func TestRetryBatchLeavesOutWhatEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newMoodyConn()
		conn.handle = func(n int, r *jsonrpc2.Request) error {
			if n < 3 {
				return jsonrpc2.ErrUnavailable
			}
			return nil
		}
		retry := jsonrpc2.Retry(conn, nil)
		require.NoError(t, retry.Open(jsonrpc2.Settings{}))
		defer retry.Close()
		var parts []*jsonrpc2.Request
		var cancels []context.CancelFunc
		for i := range 3 {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			r := jsonrpc2.NewRequest(ctx, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"a"}`, i), jsonrpc2.Hooks{})
			r.Keep()
			parts, cancels = append(parts, r), append(cancels, cancel)
		}
		body := fmt.Appendf(nil, "[%s,%s,%s]", parts[0].Body, parts[1].Body, parts[2].Body)
		require.NoError(t, retry.WriteRequest(jsonrpc2.JoinRequests(body, jsonrpc2.Hooks{}, parts...)))
		cancels[1]()
		synctest.Wait()
		time.Sleep(50 * time.Millisecond)
		cancels[0]()
		synctest.Wait()
		time.Sleep(time.Second)
		require.Equal(t, []string{
			string(body),
			fmt.Sprintf("[%s,%s]", parts[0].Body, parts[2].Body),
			string(parts[2].Body),
		}, conn.written())
	})
}

// A batch may be sent again though it may have run only if all in it are Idempotent.
func TestRetryBatchPolicy(t *testing.T) {
	for name, test := range map[string]struct {
		policies []jsonrpc2.RetryPolicy
		tries    int
	}{
		"all are":     {[]jsonrpc2.RetryPolicy{{Idempotent: true}, {Idempotent: true}}, 2},
		"one is not":  {[]jsonrpc2.RetryPolicy{{Idempotent: true}, {}}, 1},
		"none is":     {[]jsonrpc2.RetryPolicy{{}, {}}, 1},
		"After":       {[]jsonrpc2.RetryPolicy{{Idempotent: true, After: time.Second}, {Idempotent: true, After: time.Hour}}, 2},
		"not in time": {[]jsonrpc2.RetryPolicy{{After: time.Second}, {After: time.Second}}, 1},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			conn := newMoodyConn()
			conn.handle = func(n int, r *jsonrpc2.Request) error {
				if n == 1 {
					r.Fail(jsonrpc2.ErrReplyLost)
				}
				return nil
			}
			retry := jsonrpc2.Retry(conn, nil)
			require.NoError(t, retry.Open(jsonrpc2.Settings{}))
			defer retry.Close()
			var parts []*jsonrpc2.Request
			for _, policy := range test.policies {
				r := jsonrpc2.NewRequest(jsonrpc2.WithRetryPolicy(t.Context(), policy), []byte(addOne), jsonrpc2.Hooks{})
				r.Keep()
				parts = append(parts, r)
			}
			r := jsonrpc2.JoinRequests([]byte("["+addOne+","+addOne+"]"), jsonrpc2.Hooks{}, parts...)
			require.NoError(t, retry.WriteRequest(r))
			time.Sleep(10 * time.Second)
			require.Equal(t, test.tries, conn.tries(t))
		}))
	}
}

// A batch with a notification that was sent is not withdrawn by After: the batch that was sent
// in its place had only the calls.
func TestRetryAfterKeepsNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := jsonrpc2.Pipe()
		policy := jsonrpc2.RetryPolicy{Idempotent: true, After: time.Second}
		conn := jsonrpc2.Batch(jsonrpc2.Retry(here, &jsonrpc2.RetryOptions{RetryPolicy: policy}), nil)
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
		defer client.Close()
		var callers sync.WaitGroup
		for range 4 {
			callers.Go(func() {
				_, err := jsonrpc2.Call[any](t.Context(), client, "Calc.Add", calc.Args{})
				require.NoError(t, err)
			})
			callers.Go(func() { require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Watch.Add", nil)) })
		}
		time.Sleep(3 * time.Second)
		w := newWatch()
		serving, drain := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- jsonrpc2.Serve(serving, newServer(t, w), there, &jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
		}()
		callers.Wait()
		drain()
		require.NoError(t, <-served)
		require.EqualValues(t, 4, w.ran.Load())
	})
}

// If another codec has the Conn below a Retry or a Batch, the calls of the second client fail
// with ErrOpened, its Close ends, and the first client goes on.
func TestWrappersOfAnOpenedConn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := jsonrpc2.Pipe()
		first := jsonrpc2.NewClient(here, nil)
		ctx, drain := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- jsonrpc2.Serve(ctx, newServer(t), there, nil) }()
		second := jsonrpc2.NewClient(jsonrpc2.Retry(jsonrpc2.Batch(here, nil), nil), nil)
		require.ErrorIs(t, callTest(t.Context(), second), jsonrpc2.ErrOpened)
		require.NoError(t, second.Close())
		sum, err := jsonrpc2.Call[int](t.Context(), first, "Calc.Add", []int{1, 2})
		require.NoError(t, err)
		require.Equal(t, 3, sum)
		require.NoError(t, first.Close())
		drain()
		require.NoError(t, <-served)
	})
}
