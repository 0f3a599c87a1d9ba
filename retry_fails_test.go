package jsonrpc2_test

import (
	"context"
	"io"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// The calls that a broken reply leaves unanswered fail with the Missing of the Reply, and are
// sent again if that says so. With Retry they failed with ErrBadReply, for example when a proxy
// said 503 in words.
func TestRetryBrokenReply(t *testing.T) {
	for name, wrap := range map[string]func(jsonrpc2.ClientConn) jsonrpc2.ClientConn{
		"Retry":        func(c jsonrpc2.ClientConn) jsonrpc2.ClientConn { return jsonrpc2.Retry(c, nil) },
		"Retry(Batch)": func(c jsonrpc2.ClientConn) jsonrpc2.ClientConn { return jsonrpc2.Retry(jsonrpc2.Batch(c, nil), nil) },
		"Batch(Retry)": func(c jsonrpc2.ClientConn) jsonrpc2.ClientConn { return jsonrpc2.Batch(jsonrpc2.Retry(c, nil), nil) },
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			conn := newMoodyConn()
			conn.handle = func(n int, r *jsonrpc2.Request) error {
				if n > 1 {
					conn.answerCall(r)
					return nil
				}
				go func() {
					conn.messages <- jsonrpc2.Reply{Body: []byte("[503] no upstream"), Request: r, Missing: jsonrpc2.ErrOverloaded}
				}()
				return nil
			}
			client := jsonrpc2.NewClient(wrap(conn), &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
			defer client.Close()
			_, err := jsonrpc2.Call[any](t.Context(), client, "Test.Call", nil)
			require.NoError(t, err)
			require.Equal(t, 2, conn.tries(t))
		}))
	}
}

// If the budget does not allow a call to be sent again when After is over, the call gets its
// turn After later: it waited until its deadline.
func TestRetryAfterWithheld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 300
		policy := jsonrpc2.RetryPolicy{Idempotent: true, After: time.Second}
		s := newRetrying(t, jsonrpc2.RetryOptions{RetryPolicy: policy}, refusing(calls, nil, false))
		s.conn.handle = func(n int, r *jsonrpc2.Request) error {
			if n > calls {
				s.conn.answerCall(r)
			}
			return nil
		}
		var callers sync.WaitGroup
		for range calls {
			callers.Go(func() { require.NoError(t, s.call(t.Context())) })
		}
		callers.Wait()
		require.EqualValues(t, calls, s.counts.Snapshot().Repeated)
		require.NotZero(t, s.counts.Snapshot().Withheld)
	})
}

// Requests of which a stream has written nothing are sent again at no cost, however soon there
// is another stream: they used up the budget, and most of them failed.
func TestRetryUnwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const calls = 500
		server := newPipeServer(t)
		stats := new(jsonrpc2.RetryStats)
		d := newDialingOver(t, func(conn *jsonrpc2.RedialConn) jsonrpc2.ClientConn {
			return jsonrpc2.Retry(conn, &jsonrpc2.RetryOptions{Stats: stats})
		}, func(ctx context.Context) (io.ReadWriteCloser, error) { return server.accept(ctx) })
		var callers sync.WaitGroup
		for range calls {
			callers.Go(func() {
				_, err := d.add(t.Context())
				require.NoError(t, err)
			})
		}
		time.Sleep(6 * time.Second) // the stream does not end early
		require.EqualValues(t, calls, d.conn.Stats().Requests)
		d.dials(server.dial)
		server.cut()
		callers.Wait()
		require.Equal(t, jsonrpc2.RetryCounts{Requests: calls, Resent: calls}, stats.Snapshot())
	})
}

// A request that the Conn refuses has not run, even if the connection ends at the same time: it
// failed with ErrReplyLost.
func TestRefusedAtTheEnd(t *testing.T) {
	conn := newMoodyConn()
	conn.handle = func(int, *jsonrpc2.Request) error {
		close(conn.messages)
		time.Sleep(10 * time.Millisecond) // so that the codec may learn of it
		return jsonrpc2.ErrUnavailable
	}
	client := jsonrpc2.NewClient(endingConn{conn}, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
	_, err := jsonrpc2.Call[any](t.Context(), client, "Test.Call", nil)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	_ = client.Close()
}

// An endingConn closes as one outside of a synctest bubble.
type endingConn struct{ *moodyConn }

func (c endingConn) Close() error { return c.scriptedClient.Close() }
