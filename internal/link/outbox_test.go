package link

import (
	"errors"
	"net"
	"runtime"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var errFull = errors.New("full")

func TestOutbox(t *testing.T) {
	o := NewOutbox[string](nil)
	requireNotReady(t, o.Ready())
	require.NoError(t, o.Put("a", 1))
	require.NoError(t, o.Put("b", 1))
	require.Equal(t, 2, o.Len())
	<-o.Ready()
	items, open := o.Take(nil)
	require.True(t, open)
	require.Equal(t, []string{"a", "b"}, items)
	require.Zero(t, o.Len())
	requireNotReady(t, o.Ready())

	require.NoError(t, o.Put("c", 1))
	more, open := o.Take(items)
	require.True(t, open)
	require.Equal(t, []string{"c"}, more)
	require.Equal(t, []string{"", ""}, items) // what was sent is not kept alive
}

// Take waits for the callers that are about to call Put, unless there is a lone caller.
func TestOutboxLone(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // others run only when Take yields
	for lone, want := range map[bool][]string{true: {"first"}, false: {"first", "second"}} {
		var items []string
		for try := 0; try < 100 && !slices.Equal(items, want); try++ { // or when the scheduler says so
			o := NewOutbox[string](nil)
			o.LoneCaller = func() bool { return lone }
			require.NoError(t, o.Put("first", 1))
			var others sync.WaitGroup
			others.Go(func() { _ = o.Put("second", 1) })
			items, _ = o.Take(nil)
			others.Wait()
		}
		require.Equal(t, want, items)
	}
}

func TestOutboxClose(t *testing.T) {
	o := NewOutbox[string](nil)
	require.NoError(t, o.Put("last", 1))
	o.Close()
	require.ErrorIs(t, o.Put("late", 1), net.ErrClosed)
	<-o.Ready()
	items, open := o.Take(nil)
	require.False(t, open)
	require.Equal(t, []string{"last"}, items)
}

func TestOutboxLimit(t *testing.T) {
	o := NewOutbox[string](errFull)
	require.NoError(t, o.Put("a", maxWaiting-1))
	require.NoError(t, o.Put("b", 1))
	require.ErrorIs(t, o.Put("c", 1), errFull)
	require.NoError(t, o.Put("nothing", 0))
	_, _ = o.Take(nil)
	require.ErrorIs(t, o.Put("c", 1), errFull) // it is not sent yet
	o.Done(1)
	require.NoError(t, o.Put("c", 1))
	require.ErrorIs(t, o.Put("d", 1), errFull)

	unlimited := NewOutbox[string](nil)
	require.NoError(t, unlimited.Put("giant", 10*maxWaiting))
	require.NoError(t, unlimited.Put("giant", 10*maxWaiting))
}

// Each goroutine's items come in its order, and none is lost.
func TestOutboxConcurrently(t *testing.T) {
	type item struct{ from, n int }
	const from, each = 8, 1000
	o := NewOutbox[item](nil)
	var wg sync.WaitGroup
	for i := range from {
		wg.Go(func() {
			for n := range each {
				_ = o.Put(item{i, n}, 1)
			}
		})
	}
	go func() {
		wg.Wait()
		o.Close()
	}()
	var next [from]int
	var spare []item
	for open := true; open; {
		<-o.Ready()
		var items []item
		items, open = o.Take(spare)
		for _, it := range items {
			require.Equal(t, next[it.from], it.n)
			next[it.from]++
		}
		spare = items
	}
	for i := range from {
		require.Equal(t, each, next[i])
	}
}

func requireNotReady(t *testing.T, ready <-chan struct{}) {
	t.Helper()
	select {
	case <-ready:
		require.Fail(t, "ready")
	default:
	}
}
