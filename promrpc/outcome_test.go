package promrpc_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/rpc"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/promrpc"
)

// Each error that a client's Begin may be told is the outcome that the codec counts, or says
// which way a request was unsent.
func TestOutcomesOfErrors(t *testing.T) {
	t.Parallel()
	for want, errs := range map[string][]error{
		"answered": {nil},
		"error":    {&jsonrpc2.Error{Code: 404}},
		"timeout": {
			fmt.Errorf("%w after 30s", jsonrpc2.ErrTimeout),
			fmt.Errorf("%w: %w: %w", jsonrpc2.ErrTimeout, context.DeadlineExceeded, jsonrpc2.ErrNotRun),
			fmt.Errorf("%w: %w", jsonrpc2.ErrTimeout, jsonrpc2.ErrNoServer), // found out later
			fmt.Errorf("%w: %w", jsonrpc2.ErrUnconfirmed, jsonrpc2.ErrTimeout),
		},
		"canceled": {
			fmt.Errorf("jsonrpc2: Calc.Add: %w", context.Canceled),
			fmt.Errorf("%w: %w", jsonrpc2.ErrUnconfirmed, context.Canceled),
		},
		"closed": {
			fmt.Errorf("%w: the client has ended: %w", jsonrpc2.ErrReplyLost, rpc.ErrShutdown),
			fmt.Errorf("%w: the client has ended: %w", jsonrpc2.ErrUnconfirmed, rpc.ErrShutdown),
		},
		"unavailable": {
			fmt.Errorf("%w: %w", jsonrpc2.ErrUnavailable, io.ErrUnexpectedEOF),
			fmt.Errorf("%w: the client is being shut down: %w", jsonrpc2.ErrUnavailable, rpc.ErrShutdown),
		},
		"no_server":       {jsonrpc2.ErrNoServer},
		"overloaded":      {jsonrpc2.ErrOverloaded},
		"too_large":       {jsonrpc2.ErrTooLarge},
		"reply_lost":      {jsonrpc2.ErrReplyLost, fmt.Errorf("%w: %w", jsonrpc2.ErrReplyLost, context.Canceled)},
		"unconfirmed":     {jsonrpc2.ErrUnconfirmed},
		"bad_reply":       {jsonrpc2.ErrBadReply},
		"reply_too_large": {jsonrpc2.ErrReplyTooLarge},
		"unsent":          {errors.New("jsonrpc2: arguments of Calc.Add: no JSON")},
	} {
		m := promrpc.NewClientMetrics("calc", nil)
		for _, err := range errs {
			_, end, refused := m.Begin(t.Context(), &jsonrpc2.CallInfo{Method: "Calc.Add", ID: `"x-1"`}, nil)
			require.NoError(t, refused)
			end(err)
		}
		require.Equal(t, map[string]float64{want: float64(len(errs))}, samples(t, m, clientDuration, "outcome"))
	}
}

// Requests end in the histogram as they do in the codec's counts.
func TestOutcomesOfRequests(t *testing.T) {
	t.Parallel()
	add := func(ctx context.Context, p *pair) error {
		_, err := jsonrpc2.Call[float64](ctx, p.rpc, "Calc.Add", calc.Args{})
		return err
	}
	for name, test := range map[string]struct {
		request  func(context.Context, *pair) error
		measured string
		counted  string
	}{
		"answered":     {add, "answered", "answered"},
		"a plain call": {func(_ context.Context, p *pair) error { return p.rpc.Call("Calc.Add", calc.Args{}, new(float64)) }, "answered", "answered"},
		"notified":     {func(ctx context.Context, p *pair) error { return jsonrpc2.Notify(ctx, p.rpc, "Calc.Add", nil) }, "sent", "sent"},
		"an error":     {callAny[float64]("Calc.Multiply", nil), "error", "error"},
		"a bad reply":  {callAny[string]("Calc.Add", calc.Args{}), "bad_reply", "bad_reply"},
		"too large":    {callAny[float64]("Calc.Add", strings.Repeat("x", 1000)), "too_large", "unsent"},
		"no JSON":      {callAny[float64]("Calc.Add", func() {}), "unsent", "unsent"},
		"timed out":    {timeOut, "timeout", "timeout"},
		"canceled":     {cancel, "canceled", "canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "calc", nil, jsonrpc2.ClientOptions{MaxMessageSize: 500})
			err := test.request(t.Context(), p)
			good := map[string]bool{"answered": true, "sent": true}[test.counted]
			require.Equal(t, good, err == nil, "%v", err)

			requireOutcome(t, p.client, test.measured, test.counted)
		})
	}
}

// requireOutcome requires that one request has ended, and how.
func requireOutcome(t *testing.T, m *promrpc.ClientMetrics, measured, counted string) {
	t.Helper()
	// The caller may know of the end of its ctx a moment before Begin does.
	servicetest.Eventually(t, func() bool { return len(samples(t, m, clientDuration, "outcome")) > 0 })
	require.Equal(t, map[string]float64{measured: 1}, samples(t, m, clientDuration, "outcome"))
	counts := samples(t, m, clientEnded, "outcome")
	maps.DeleteFunc(counts, func(_ string, n float64) bool { return n == 0 })
	require.Equal(t, map[string]float64{counted: 1}, counts)
}

// Calls that wait when the client or its peer goes end as the codec counts them.
func TestOutcomesOfEnds(t *testing.T) {
	t.Parallel()
	for want, end := range map[string]func(client *rpc.Client, peer net.Conn){
		"closed":     func(client *rpc.Client, _ net.Conn) { _ = client.Close() },
		"reply_lost": func(_ *rpc.Client, peer net.Conn) { _ = peer.Close() },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			m := promrpc.NewClientMetrics("calc", nil)
			peer, here := net.Pipe()
			defer peer.Close()
			client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), &jsonrpc2.ClientOptions{Stats: &m.Stats, Begin: m.Begin})
			defer client.Close()
			call := client.Go("Calc.Add", calc.Args{}, new(float64), nil)
			_, err := bufio.NewReader(peer).ReadString('\n')
			require.NoError(t, err)
			end(client, peer)
			<-call.Done
			requireOutcome(t, m, want, want)
		})
	}
}

func callAny[R any](method string, args any) func(context.Context, *pair) error {
	return func(ctx context.Context, p *pair) error {
		_, err := jsonrpc2.Call[R](ctx, p.rpc, method, args)
		return err
	}
}

func timeOut(ctx context.Context, p *pair) error {
	ctx, stop := context.WithTimeout(ctx, 5*time.Second) // in which it begins
	defer stop()
	return callAny[int]("Slow.Wait", 1)(ctx, p)
}

// cancel gives a call up when it runs.
func cancel(ctx context.Context, p *pair) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- callAny[int]("Slow.Wait", 1)(ctx, p) }()
	for p.slow.Running.Load() == 0 {
		time.Sleep(servicetest.Tick)
	}
	stop()
	return <-ended
}
