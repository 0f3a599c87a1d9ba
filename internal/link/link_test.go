package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackoff(t *testing.T) {
	var b Backoff
	for range 3 {
		for _, most := range []time.Duration{50, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000} {
			most *= time.Millisecond
			got := b.Next()
			require.LessOrEqual(t, got, most)
			require.GreaterOrEqual(t, got, most/2)
		}
		b.Reset()
	}
}

// Many clients of one broker don't come back at once.
func TestBackoffJitter(t *testing.T) {
	seen := make(map[time.Duration]bool)
	for range 100 {
		var b Backoff
		seen[b.Next()] = true
	}
	require.Greater(t, len(seen), 50)
}

func TestWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		require.True(t, Wait(time.Hour, nil))
		require.Equal(t, time.Hour, time.Since(begin))

		done := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(done) })
		begin = time.Now()
		require.False(t, Wait(time.Hour, done))
		require.Equal(t, time.Minute, time.Since(begin))
	})
}

func TestState(t *testing.T) {
	var log bytes.Buffer
	s := State{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	failure := errors.New("it broke")
	lines := func(n int) {
		t.Helper()
		require.Equal(t, n, strings.Count(log.String(), "\n"), log.String())
	}

	s.Worked("sending") // it never failed
	lines(0)
	s.Failed("sending", failure)
	lines(1)
	require.Contains(t, log.String(), `level=ERROR msg="connection impaired, trying again" while=sending error="it broke"`)
	s.Failed("sending", failure)
	s.Failed("taking", failure)
	s.Worked("sending")
	lines(1)
	require.Zero(t, s.Recoveries.Load())
	s.Worked("taking")
	lines(2)
	require.Contains(t, log.String(), `level=INFO msg="connection works again" after=`)
	s.Worked("taking")
	lines(2)
	require.EqualValues(t, 1, s.Recoveries.Load())

	s.Failed("taking", failure)
	s.Worked("taking")
	lines(4)
	require.EqualValues(t, 2, s.Recoveries.Load())
}

// Another cause is another line. The same cause with another port of this machine is not.
func TestStateCause(t *testing.T) {
	var log bytes.Buffer
	s := State{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	require.NoError(t, s.Cause())
	refused := func(port int) error {
		return fmt.Errorf("redis: %w", &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{Port: port}, Err: errors.New("connection refused")})
	}
	for port := range 3 {
		s.Failed("sending", refused(port))
		s.Failed("taking", refused(port))
	}
	require.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
	denied := errors.New("WRONGPASS invalid username-password pair")
	s.Failed("taking", denied)
	s.Failed("sending", refused(4)) // known already
	s.Failed("taking", denied)
	require.Equal(t, 2, strings.Count(log.String(), "\n"), log.String())
	require.Contains(t, log.String(), `level=ERROR msg="connection impaired by another cause" while=taking error="WRONGPASS`)
	require.ErrorIs(t, s.Cause(), denied)
	s.Worked("sending")
	require.ErrorIs(t, s.Cause(), denied)
	s.Worked("taking")
	require.NoError(t, s.Cause())
}

// A handler that logs an outage may take long, and may itself ask for the cause.
func TestStateWhileLogging(t *testing.T) {
	var s State
	var causes []error
	s.Logger = slog.New(handler(func() { causes = append(causes, s.Cause()) }))
	broke := errors.New("it broke")
	s.Failed("sending", broke)
	s.Failed("taking", errors.New("so did this"))
	s.Worked("sending")
	s.Worked("taking")
	require.Len(t, causes, 3)
	require.Equal(t, broke, causes[0])
	require.EqualError(t, causes[1], "so did this")
	require.NoError(t, causes[2])
}

// A handler is called for each line of a log.
type handler func()

func (handler) Enabled(context.Context, slog.Level) bool    { return true }
func (h handler) Handle(context.Context, slog.Record) error { h(); return nil }
func (h handler) WithAttrs([]slog.Attr) slog.Handler        { return h }
func (h handler) WithGroup(string) slog.Handler             { return h }

func TestStateConcurrently(t *testing.T) {
	var log bytes.Buffer
	s := State{Logger: slog.New(slog.NewTextHandler(&log, nil))}
	var wg sync.WaitGroup
	for _, activity := range []string{"sending", "taking", "answering"} {
		wg.Go(func() {
			for range 1000 {
				s.Failed(activity, errors.New("it broke"))
				s.Worked(activity)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, s.Recoveries.Load(), strings.Count(log.String(), "works again"))
	require.EqualValues(t, s.Recoveries.Load(), strings.Count(log.String(), "impaired"))
}
