package link

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNotes(t *testing.T) {
	n := NewNotes(0)
	requireNotReady(t, n.Ready())
	_, ok := n.Next()
	require.False(t, ok)

	first, second := errors.New("first"), errors.New("second")
	n.Add([]byte("1"), first)
	n.Add([]byte("2"), second)
	<-n.Ready()
	note, ok := n.Next()
	require.True(t, ok)
	require.Equal(t, "1", string(note.Body))
	require.Equal(t, first, note.Err)
	require.NoError(t, note.Reply(nil)) // a codec settles every message
	<-n.Ready()                         // as there is another one
	note, ok = n.Next()
	require.True(t, ok)
	require.Equal(t, second, note.Err)
	requireNotReady(t, n.Ready())
	_, ok = n.Next()
	require.False(t, ok)
}

func TestNotesLimit(t *testing.T) {
	n := NewNotes(3)
	for i := range 10 {
		n.Add(nil, fmt.Errorf("%d", i))
	}
	for i := range 3 {
		note, ok := n.Next()
		require.True(t, ok)
		require.EqualError(t, note.Err, fmt.Sprint(i))
	}
	_, ok := n.Next()
	require.False(t, ok)
}

// A reader that waits for Ready before each look sees every note.
func TestNotesConcurrently(t *testing.T) {
	n := NewNotes(0)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 500 {
				n.Add(nil, errors.New("note"))
			}
		})
	}
	for seen := 0; seen < 8*500; {
		<-n.Ready()
		if _, ok := n.Next(); ok {
			seen++
		}
	}
	wg.Wait()
	_, ok := n.Next()
	require.False(t, ok)
}

func requireNotReady(t *testing.T, ready <-chan struct{}) {
	t.Helper()
	select {
	case <-ready:
		require.Fail(t, "ready")
	default:
	}
}
