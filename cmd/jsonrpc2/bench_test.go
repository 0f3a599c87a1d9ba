package main

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestBench(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s site) {
		for _, how := range []string{"", "--batch"} {
			args := append(s.at("bench", "-n", "300", "-c", "16", "-o", "json", "add", "[1,5.1]"), strings.Fields(how)...)
			r := parsed[benchResult](t, must(t, args...))[0]
			require.Equal(t, 300, r.Calls)
			require.Equal(t, 300, r.Answered)
			require.Empty(t, r.Errors)
			require.Positive(t, r.P50)
			require.LessOrEqual(t, r.P50, r.P99)
			require.LessOrEqual(t, r.P99, r.Max)
		}
		failed := run(t, s.at("bench", "-n", "20", "-c", "4", "Test.Plain")...)
		require.Equal(t, exitFailed, failed.status)
		require.Equal(t, "jsonrpc2: 20 of 20 calls failed, such as by: error -32000: divide by zero\n", failed.stderr)
		rows := tableOf(failed.stdout)
		require.Equal(t, []string{"CALLS", "ANSWERED", "SECONDS", "CALLS/S", "MEAN", "P50", "P90", "P99", "P99.9", "MAX"}, rows[0])
		require.Equal(t, []string{"20", "0"}, rows[1][:2])
		require.Equal(t, []string{"20", "error -32000: divide by zero"}, rows[4])
	})
}

// Ctrl-C ends a bench, which prints what there is; a call that does not end may have run.
func TestBenchIsInterrupted(t *testing.T) {
	t.Parallel()
	eachSite(t, func(t *testing.T, s site) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan result, 1)
		go func() {
			ended <- runWith(t, ctx, "", nil, s.at("bench", "-n", "0", "-c", "2", "-o", "json", "Slow.Wait", "[1]")...)
		}()
		s.slow.RequireRunning(t, 2)
		s.slow.Gate <- struct{}{}
		servicetest.Eventually(t, func() bool { return len(s.slow.Order()) == 3 })
		cancel()
		r := awaited(t, ended)
		require.Equal(t, exitMayHaveRun, r.status, r.stderr)
		told := parsed[benchResult](t, r.stdout)[0]
		require.Equal(t, 1, told.Answered)
		require.Equal(t, 3, told.Calls)
	})
}

// -d ends a bench, too.
func TestBenchForAWhile(t *testing.T) {
	t.Parallel()
	s := serveHTTP(t, nil)
	r := parsed[benchResult](t, must(t, s.at("bench", "-n", "0", "-d", "100ms", "-o", "json", "add", "[1,5.1]")...))[0]
	require.Positive(t, r.Answered)
	require.GreaterOrEqual(t, r.Seconds, 0.1)
}
