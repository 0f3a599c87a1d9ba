package jsonrpc2_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/rpc"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Notify returns what becomes of the notification, and that alone.
func TestNotifyReturns(t *testing.T) {
	gone := errors.New("the queue is gone")
	for name, test := range map[string]struct {
		end     func(r *jsonrpc2.Request)
		want    error // the sentinel
		counted jsonrpc2.ClientCounts
	}{
		"sent":        {func(r *jsonrpc2.Request) { r.Sent() }, nil, jsonrpc2.ClientCounts{Sent: 1}},
		"no server":   {func(r *jsonrpc2.Request) { r.Fail(fmt.Errorf("%w: %w", jsonrpc2.ErrNoServer, gone)) }, jsonrpc2.ErrNoServer, jsonrpc2.ClientCounts{Unsent: 1}},
		"unconfirmed": {func(r *jsonrpc2.Request) { r.Fail(fmt.Errorf("%w: %w", jsonrpc2.ErrUnconfirmed, gone)) }, jsonrpc2.ErrUnconfirmed, jsonrpc2.ClientCounts{Unconfirmed: 1}},
		"no sentinel": {func(r *jsonrpc2.Request) { r.Fail(gone) }, jsonrpc2.ErrUnconfirmed, jsonrpc2.ClientCounts{Unconfirmed: 1}},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			stats, log := new(jsonrpc2.ClientStats), new(recorder)
			conn := newScriptedClient().mute()
			codec := jsonrpc2.NewClientCodec(conn, &jsonrpc2.ClientOptions{Logger: slog.New(log), Stats: stats})
			client := rpc.NewClientWithCodec(codec)
			defer client.Close()
			ended := notify(client, "Test.Call", nil)
			require.Empty(t, ended, "it is not known to be sent")
			test.end(conn.last())
			err := <-ended
			require.ErrorIs(t, err, test.want)
			if test.want != nil {
				require.ErrorIs(t, err, gone)
			}
			conn.last().Sent()
			conn.last().Fail(jsonrpc2.ErrUnavailable)
			test.counted.Notifications = 1
			require.Equal(t, test.counted, stats.Snapshot())
			require.Empty(t, log.take(), "its caller is told")
			calls, failures := jsonrpc2.Pending(codec)
			require.Zero(t, calls+failures)
		}))
	}
}

// Notify waits for as long as ctx says, or else the client's Timeout. Its request ends
// with it, and may have been sent.
func TestNotifyWaitsNoLonger(t *testing.T) {
	for name, test := range map[string]struct {
		ctx     func(ctx context.Context) (context.Context, context.CancelFunc)
		after   time.Duration
		want    string
		ends    error // of the request
		overdue int64
	}{
		"Timeout": {context.WithCancel, time.Minute, "jsonrpc2: may have been sent: jsonrpc2: call timed out after 1m0s", context.DeadlineExceeded, 1},
		"deadline": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, time.Hour)
		}, time.Hour,
			"jsonrpc2: may have been sent: jsonrpc2: call timed out: Test.Call: context deadline exceeded", context.DeadlineExceeded, 1},
		"canceled": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(time.Second, cancel)
			return ctx, cancel
		}, time.Second, "jsonrpc2: may have been sent: jsonrpc2: Test.Call: context canceled", context.Canceled, 0},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			stats, log := new(jsonrpc2.ClientStats), new(recorder)
			conn := newScriptedClient().mute()
			client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Timeout: time.Minute, Logger: slog.New(log), Stats: stats})
			defer client.Close()
			ctx, cancel := test.ctx(t.Context())
			defer cancel()
			begin := time.Now()
			err := jsonrpc2.Notify(ctx, client, "Test.Call", nil)
			require.Equal(t, test.after, time.Since(begin))
			require.EqualError(t, err, test.want)
			require.ErrorIs(t, err, jsonrpc2.ErrUnconfirmed)
			require.Equal(t, test.overdue == 1, errors.Is(err, jsonrpc2.ErrTimeout))
			r := conn.last()
			require.True(t, r.Deadline().IsZero(), "it may run at any time")
			require.True(t, r.IsNotification())
			require.Equal(t, test.ends, r.Context().Err())
			require.Equal(t, test.overdue, stats.Snapshot().Timeouts)
			require.Empty(t, log.take(), "its caller is told")
		}))
	}
}

// A ctx that is done already sends nothing.
func TestNotifyTooLate(t *testing.T) {
	conn := newScriptedClient()
	client := jsonrpc2.NewClient(conn, nil)
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := jsonrpc2.Notify(ctx, client, "Test.Call", nil)
	require.ErrorIs(t, err, context.Canceled)
	require.NotErrorIs(t, err, jsonrpc2.ErrUnconfirmed)
	require.Empty(t, conn.written)
}

// The end of the client ends those who wait.
func TestNotifyEnds(t *testing.T) {
	for name, end := range map[string]func(*scriptedClient, *rpc.Client){
		"Close":    func(_ *scriptedClient, client *rpc.Client) { _ = client.Close() },
		"its Conn": func(conn *scriptedClient, _ *rpc.Client) { close(conn.messages) },
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			conn := newScriptedClient().mute()
			client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
			defer client.Close()
			ended := notify(client, "Test.Call", nil)
			end(conn, client)
			require.ErrorIs(t, <-ended, jsonrpc2.ErrUnconfirmed)
		}))
	}
}

func TestNotify(t *testing.T) {
	stats := new(jsonrpc2.ClientStats)
	p := newPeer(t, jsonrpc2.ClientOptions{Service: "Calc", Positional: true, Stats: stats})
	require.NoError(t, jsonrpc2.Notify(t.Context(), p.client, "Calc.Add", calc.Args{A: 1, B: 5.1}))
	require.Equal(t, `{"jsonrpc":"2.0","method":"add","params":[1,5.1]}`, (<-p.requests).text)
	require.NoError(t, jsonrpc2.Notify(t.Context(), p.client, "Calc.Add", nil))
	require.Equal(t, `{"jsonrpc":"2.0","method":"add"}`, (<-p.requests).text)
	p.requireAlive(t) // the notifications were sent before
	p.requireNothingLeft(t)
	require.EqualValues(t, 2, stats.Snapshot().Notifications)
	require.EqualValues(t, 1, stats.Snapshot().Calls)
}

func TestNotifyAndCallConcurrently(t *testing.T) {
	counter := new(servicetest.Counter)
	there, here := tcpPair(t)
	done := make(chan error, 1)
	go func() {
		done <- jsonrpc2.Serve(t.Context(), newServer(t, counter), jsonrpc2.NewStreamConn(there), nil)
	}()
	codec := jsonrpc2.NewClientCodec(jsonrpc2.NewStreamConn(here), nil)
	p := &peer{client: rpc.NewClientWithCodec(codec), codec: codec}
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 50 {
				assert.NoError(t, jsonrpc2.Notify(t.Context(), p.client, "Counter.Count", nil))
				sum, err := jsonrpc2.Call[float64](t.Context(), p.client, "Calc.Add", calc.Args{A: float64(g), B: float64(i)})
				assert.NoError(t, err)
				assert.Equal(t, float64(g+i), sum)
				var difference float64
				assert.NoError(t, p.client.Call("Calc.Subtract", calc.Args{A: float64(g), B: float64(i)}, &difference))
				assert.Equal(t, float64(g-i), difference)
			}
		})
	}
	wg.Wait()
	p.requireNothingLeft(t)
	require.NoError(t, p.client.Close())
	require.NoError(t, <-done)
	require.EqualValues(t, 32*50, counter.N.Load())
}

// Notify returns the same error and counts the same, whether the Conn refuses a notification
// or fails it later.
func TestNotifyRefused(t *testing.T) {
	for refusal, want := range map[error]jsonrpc2.ClientCounts{
		errors.New("gone"):      {Unsent: 1},
		jsonrpc2.ErrOverloaded:  {Unsent: 1},
		jsonrpc2.ErrUnconfirmed: {Unconfirmed: 1},
		jsonrpc2.ErrReplyLost:   {Unconfirmed: 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, stats := newScriptedClient(), new(jsonrpc2.ClientStats)
			client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet, Stats: stats})
			defer client.Close()
			conn.refuse(refusal)
			err := jsonrpc2.Notify(t.Context(), client, "Test.Call", nil)
			require.ErrorIs(t, err, refusal)
			require.Equal(t, want.Unconfirmed == 1, errors.Is(err, jsonrpc2.ErrUnconfirmed))
			want.Notifications = 1
			require.Equal(t, want, stats.Snapshot())
		})
	}
}

// A notification in a batch that is refused as a whole fails, too: it was reported as sent.
func TestNotifyInABatchThatIsRefused(t *testing.T) {
	for missing, want := range map[error]error{
		jsonrpc2.ErrOverloaded:    jsonrpc2.ErrOverloaded,
		jsonrpc2.ErrReplyLost:     jsonrpc2.ErrUnconfirmed,
		jsonrpc2.ErrReplyTooLarge: jsonrpc2.ErrUnconfirmed,
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, stats := newScriptedClient().mute(), new(jsonrpc2.ClientStats)
			client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet, Stats: stats})
			defer client.Close()
			call := client.Go("Test.Call", nil, nil, nil)
			synctest.Wait()
			first := conn.last()
			notified := notify(client, "Test.Call", nil)
			both := jsonrpc2.JoinRequests([]byte(`[]`), jsonrpc2.Hooks{}, first, conn.last())
			conn.messages <- jsonrpc2.Reply{Body: []byte(`{"message":"slow down"}`), Request: both, Missing: missing}
			require.ErrorIs(t, <-notified, want)
			require.ErrorContains(t, (<-call.Done).Error, missing.Error())
			require.Zero(t, stats.Snapshot().Sent+stats.Snapshot().InFlight)
		})
	}
}
