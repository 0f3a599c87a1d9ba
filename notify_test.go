package jsonrpc2_test

import (
	"context"
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

// A notification that fails has nobody to tell it to: it is counted and logged.
func TestNotificationFails(t *testing.T) {
	for sentinel, unsent := range map[error]int64{jsonrpc2.ErrNoServer: 1, jsonrpc2.ErrUnconfirmed: 0} {
		synctest.Test(t, func(t *testing.T) {
			stats, log := new(jsonrpc2.Stats), new(recorder)
			conn := newScriptedClient().mute()
			codec := jsonrpc2.NewClientCodec(conn, &jsonrpc2.ClientOptions{Logger: slog.New(log), Stats: stats})
			client := rpc.NewClientWithCodec(codec)
			defer client.Close()
			require.NoError(t, jsonrpc2.Notify(client, "Test.Call", nil))
			conn.last().Fail(fmt.Errorf("%w: the queue is gone", sentinel))
			conn.last().Fail(fmt.Errorf("%w: again", sentinel))
			require.Equal(t, unsent, stats.Unsent.Load())
			require.Equal(t, 1-unsent, stats.Errors.Load())
			lines := log.take()
			require.Len(t, lines, 1)
			require.Equal(t, "jsonrpc2: notification failed", lines[0].Message)
			require.Contains(t, lines[0].attrs["error"], "the queue is gone")
			calls, failures := jsonrpc2.Pending(codec)
			require.Zero(t, calls+failures)
		})
	}
}

// A notification of which the Conn says nothing ends with the client's Timeout, and
// its request with it.
func TestNotificationTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stats, log := new(jsonrpc2.Stats), new(recorder)
		conn := newScriptedClient().mute()
		opts := &jsonrpc2.ClientOptions{Timeout: time.Minute, Logger: slog.New(log), Stats: stats}
		client := jsonrpc2.NewClient(conn, opts)
		defer client.Close()
		begin := time.Now()
		require.NoError(t, jsonrpc2.Notify(client, "Test.Call", nil))
		r := conn.last()
		require.True(t, r.Deadline().IsZero(), "it may run at any time")
		require.True(t, r.IsNotification())
		require.False(t, r.GivenUp())
		<-r.Context().Done()
		require.Equal(t, time.Minute, time.Since(begin))
		require.Equal(t, context.DeadlineExceeded, r.Context().Err())
		require.True(t, r.GivenUp())
		synctest.Wait()
		require.EqualValues(t, 1, stats.Timeouts.Load())
		require.Equal(t, "jsonrpc2: notification may not have been sent", log.take()[0].Message)
	})
}

func TestNotify(t *testing.T) {
	stats := new(jsonrpc2.Stats)
	p := newPeer(t, jsonrpc2.ClientOptions{Service: "Calc", Positional: true, Stats: stats})
	require.NoError(t, jsonrpc2.Notify(p.client, "Calc.Add", calc.Args{A: 1, B: 5.1}))
	require.Equal(t, `{"jsonrpc":"2.0","method":"add","params":[1,5.1]}`, (<-p.requests).text)
	require.NoError(t, jsonrpc2.Notify(p.client, "Calc.Add", nil))
	require.Equal(t, `{"jsonrpc":"2.0","method":"add"}`, (<-p.requests).text)
	p.requireAlive(t) // the notifications were sent before
	p.requireNothingLeft(t)
	require.EqualValues(t, 2, stats.Notifications.Load())
	require.EqualValues(t, 1, stats.Calls.Load())
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
				assert.NoError(t, jsonrpc2.Notify(p.client, "Counter.Count", nil))
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
