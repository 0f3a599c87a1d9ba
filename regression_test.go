package jsonrpc2_test

import (
	"context"
	"fmt"
	"net/rpc"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// What is tested here went wrong once.

// A Batch around a Batch says of no request that was sent that it did not run.
func TestBatchAroundABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newScriptedClient()
		inner := jsonrpc2.Batch(conn, nil)
		client := jsonrpc2.NewClient(jsonrpc2.Batch(inner, &jsonrpc2.BatchOptions{MaxItems: 1}), &jsonrpc2.ClientOptions{Timeout: time.Second, Logger: servicetest.Quiet})
		defer client.Close()
		errs := make(chan error, 50)
		for range cap(errs) {
			go func() { errs <- callTest(t.Context(), client) }()
		}
		synctest.Wait()
		for len(conn.written) > 0 {
			<-conn.written
		}
		for range cap(errs) {
			require.NotErrorIs(t, <-errs, jsonrpc2.ErrNotRun, "it was sent")
		}
	})
}

// If the error of another call is the cause that a context was canceled with, errors.Is does
// not find it in the error of this call.
func TestCauseIsNotTheFate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stats := new(jsonrpc2.ClientStats)
		conn := newScriptedClient()
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Stats: stats, Logger: servicetest.Quiet})
		defer client.Close()
		for _, cause := range []error{
			fmt.Errorf("%w: sibling: %w", jsonrpc2.ErrTimeout, jsonrpc2.ErrNotRun),
			&jsonrpc2.Error{Code: 402, Message: "sibling's"},
		} {
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				<-conn.written
				cancel(cause)
			}()
			_, err := jsonrpc2.Call[int](ctx, client, "T.X", nil)
			_, answered := jsonrpc2.AsError(err)
			require.False(t, answered)
			require.NotErrorIs(t, err, jsonrpc2.ErrNotRun)
			require.NotErrorIs(t, err, jsonrpc2.ErrTimeout)
			require.ErrorContains(t, err, "sibling")
			require.Equal(t, context.Canceled, conn.last().Context().Err())
			require.Zero(t, stats.Snapshot().Timeouts)
		}
	})
}

// A call that timed out ends with ErrTimeout, even if the Conn ends during its inquiry.
func TestConnEndsDuringAnInquiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, client := newInquired(t, time.Second, nil)
		errs := make(chan error, 1)
		go func() { errs <- callTest(t.Context(), client) }()
		a := <-conn.asks
		close(conn.messages)
		require.ErrorIs(t, <-errs, jsonrpc2.ErrTimeout)
		a.answer <- nil
	})
}

// The sentinel that the text of an error begins with says what became of a request, not another
// one that the error wraps.
func TestFailureIsItsFirstSentinel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stats jsonrpc2.ClientStats
		conn := newScriptedClient()
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Timeout: time.Minute, Stats: &stats, Logger: servicetest.Quiet})
		defer client.Close()
		call := func(why error) error {
			errs := make(chan error, 1)
			go func() { errs <- callTest(t.Context(), client) }()
			<-conn.written
			conn.last().Fail(why)
			return <-errs
		}
		require.ErrorIs(t, call(fmt.Errorf("%w: the relay: %w", jsonrpc2.ErrReplyLost, jsonrpc2.ErrUnavailable)), jsonrpc2.ErrReplyLost)
		begin := time.Now()
		require.ErrorIs(t, call(fmt.Errorf("%w: the relay: %w", jsonrpc2.ErrReplyLost, jsonrpc2.ErrUnconfirmed)), jsonrpc2.ErrReplyLost)
		require.Zero(t, stats.Snapshot().Unsent)
		require.Less(t, time.Since(begin), time.Second)
	})
}

// A result that does not fit a plain client.Call ends the client: the other calls fail with
// ErrReplyLost, not with ErrBadReply.
func TestMisfitIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newScriptedClient()
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
		defer client.Close()
		errs := make(chan error, 1)
		go func() { errs <- callTest(t.Context(), client) }()
		<-conn.written
		c := client.Go("T.X", nil, new(int), nil)
		<-conn.written
		conn.answer(`{"jsonrpc":"2.0","id":"` + conn.last().ID() + `","result":"text"}`)
		require.Error(t, (<-c.Done).Error)
		err := <-errs
		require.ErrorIs(t, err, jsonrpc2.ErrReplyLost)
		require.NotErrorIs(t, err, jsonrpc2.ErrBadReply)
	})
}

// A context that lives on does not keep the requests alive that were made with it.
func TestSentRequestIsNotKept(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var kept []weak.Pointer[jsonrpc2.Request]
	for range 1000 {
		r := jsonrpc2.NewRequest(ctx, []byte(`{"jsonrpc":"2.0","method":"m"}`), jsonrpc2.Hooks{})
		r.Sent()
		kept = append(kept, weak.Make(r))
	}
	requireGone(t, kept)
}

// requireGone requires that nothing is in memory any more.
func requireGone[T any](t *testing.T, kept []weak.Pointer[T]) {
	t.Helper()
	runtime.GC()
	runtime.GC()
	n := 0
	for _, p := range kept {
		if p.Value() != nil {
			n++
		}
	}
	require.Zero(t, n, "kept of %d", len(kept))
}

// A request that is sent again and again keeps none of its tries.
func TestTriesAreNotKept(t *testing.T) {
	r := jsonrpc2.NewRequest(context.Background(), []byte(`{"jsonrpc":"2.0","id":"1","method":"m"}`), jsonrpc2.Hooks{})
	var kept []weak.Pointer[jsonrpc2.Request]
	for range 1000 {
		try := jsonrpc2.JoinRequests(r.Body, jsonrpc2.Hooks{Fail: func(error) {}}, r)
		try.Keep()
		try.Fail(jsonrpc2.ErrUnavailable)
		kept = append(kept, weak.Make(try))
	}
	requireGone(t, kept)
	runtime.KeepAlive(r)
}

// A batch that can't be served, and has more calls than are kept, has one answer.
func TestAnswerToAGiantBatch(t *testing.T) {
	conn := newScriptedServer()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- jsonrpc2.Serve(ctx, rpc.NewServer(), conn, &jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	}()
	var b strings.Builder
	for i := range 1500 {
		fmt.Fprintf(&b, `,{"jsonrpc":"2.0","id":%d,"method":"m"}`, i)
	}
	answers := make(chan string, 1)
	conn.messages <- jsonrpc2.Delivery{Body: []byte("[" + b.String()[1:] + "]"), Err: &jsonrpc2.Error{Code: 1, Message: "no"},
		Reply: func(body []byte) error {
			answers <- string(body)
			return nil
		}}
	n := strings.Count(<-answers, `"id"`)
	cancel()
	<-done
	require.Equal(t, 1, n)
}

// A request ends at its deadline, also while Close waits for what it holds up.
func TestRequestEndsWhileClosing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &patientConn{scriptedClient: newScriptedClient()}
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Timeout: time.Second, Logger: servicetest.Quiet})
		client.Go("T.X", nil, nil, nil)
		<-conn.written
		begin := time.Now()
		client.Close()
		require.Less(t, time.Since(begin), 2*time.Second)
	})
}

// A server whose MaxBatch is above what a Header keeps serves such batches whole.
func TestBatchBeyondTheHeader(t *testing.T) {
	for _, scanned := range []bool{false, true} {
		for n, want := range map[int]int{9999: 9999, 15000: 15000, 20000: 20000, 20001: 1} {
			conn := newScriptedServer()
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			server := rpc.NewServer()
			require.NoError(t, server.Register(new(servicetest.Counter)))
			go func() {
				done <- jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Logger: servicetest.Quiet, MaxBatch: 20000})
			}()
			var b strings.Builder
			for i := range n {
				fmt.Fprintf(&b, `,{"jsonrpc":"2.0","id":%d,"method":"Counter.Count"}`, i)
			}
			answers := make(chan string, 1)
			d := jsonrpc2.Delivery{Body: []byte("[" + b.String()[1:] + "]"),
				Reply: func(body []byte) error {
					answers <- string(body)
					return nil
				}}
			if scanned {
				d.Header = new(jsonrpc2.Header)
				d.Header.Scan(d.Body)
			}
			conn.messages <- d
			require.Equal(t, want, strings.Count(<-answers, `"id"`))
			cancel()
			<-done
		}
	}
}

// A patientConn has a goroutine for each request, which ends with it, as Close awaits.
type patientConn struct {
	*scriptedClient
	wg sync.WaitGroup
}

func (c *patientConn) WriteRequest(r *jsonrpc2.Request) error {
	c.written <- ""
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.Context(), time.Hour) // as net/http would
		defer cancel()
		<-ctx.Done()
	})
	return nil
}

func (c *patientConn) Close() error {
	_ = c.scriptedClient.Close()
	c.wg.Wait()
	return nil
}
