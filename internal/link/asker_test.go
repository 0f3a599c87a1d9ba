package link

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A question that hangs holds up nobody after the context is done. No two questions are under
// way at once.
func TestAsker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAsker()
		soon := func() context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			t.Cleanup(cancel)
			return ctx
		}
		seven := func() int { return 7 }
		n, ok := Ask(soon(), a, seven)
		require.True(t, ok)
		require.Equal(t, 7, n)

		hung := make(chan struct{})
		start := time.Now()
		n, ok = Ask(soon(), a, func() int { <-hung; return 8 })
		require.False(t, ok)
		require.Zero(t, n)
		require.Equal(t, time.Second, time.Since(start))
		_, ok = Ask(soon(), a, seven)
		require.False(t, ok, "one is under way")
		require.Equal(t, 2*time.Second, time.Since(start))

		closed := make(chan struct{})
		time.AfterFunc(time.Minute, func() { close(hung) })
		go func() { a.Close(); close(closed) }()
		<-closed
		require.Equal(t, time.Minute+2*time.Second, time.Since(start), "Close waits")
		_, ok = Ask(soon(), a, seven)
		require.False(t, ok, "it is closed")
	})
}
