package link

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewPlaces(3)
		require.Equal(t, 3, p.Wait(nil))
		p.Take(2)
		require.Equal(t, 2, p.Taken())
		require.Equal(t, 1, p.Wait(nil))
		p.Take(1)

		free := make(chan int, 1)
		go func() { free <- p.Wait(nil) }()
		synctest.Wait()
		require.Empty(t, free) // it waits
		p.Free(2)
		require.Equal(t, 2, <-free)
		p.Free(1)
		require.Equal(t, 3, p.Wait(nil))
	})
}

func TestPlacesDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, done := NewPlaces(1), make(chan struct{})
		p.Take(1)
		free := make(chan int, 1)
		go func() { free <- p.Wait(done) }()
		synctest.Wait()
		require.Empty(t, free)
		close(done)
		require.Zero(t, <-free)
		p.Free(1)
		require.Zero(t, p.Wait(done)) // though one is free
	})
}

// No wake-up is lost, however places are freed and taken.
func TestPlacesConcurrently(t *testing.T) {
	p := NewPlaces(4)
	const places = 2000
	taken := make(chan int, places)
	go func() {
		for n := range taken {
			p.Free(n)
		}
	}()
	for left := places; left > 0; {
		free := p.Wait(nil)
		require.LessOrEqual(t, free, 4)
		p.Take(free)
		taken <- free
		left -= free
	}
	close(taken)
}
