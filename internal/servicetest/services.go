package servicetest

import (
	"bytes"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Slow is a service whose calls run until they are let go.
type Slow struct {
	Gate               chan struct{} // each value lets a call go, its closing all
	Running, Most, Ran atomic.Int64

	opening sync.Once
	mu      sync.Mutex // protects following
	order   []int
}

// NewSlow returns a Slow.
func NewSlow() *Slow { return &Slow{Gate: make(chan struct{})} }

// Wait returns n. It waits for Gate before.
func (s *Slow) Wait(n int, reply *int) error {
	s.mu.Lock()
	s.order = append(s.order, n)
	s.Most.Store(max(s.Most.Load(), s.Running.Add(1)))
	s.mu.Unlock()
	<-s.Gate
	s.Running.Add(-1)
	s.Ran.Add(1)
	*reply = n
	return nil
}

// Open lets all calls go.
func (s *Slow) Open() { s.opening.Do(func() { close(s.Gate) }) }

// Order returns what was asked for, in the order in which it began.
func (s *Slow) Order() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.order...)
}

// RequireRunning requires that soon so many calls run.
func (s *Slow) RequireRunning(t *testing.T, n int64) {
	t.Helper()
	Eventually(t, func() bool { return s.Running.Load() == n }, "want %d running calls", n)
}

// Hold is a service whose calls hold what they are given, until they are let go.
type Hold struct{ *Slow }

// Text returns the length of a text when it is let go.
func (h Hold) Text(text string, n *int) error {
	err := h.Wait(len(text), n)
	runtime.KeepAlive(text)
	return err
}

// Poison is a service whose method ends the process, as net/rpc has it.
type Poison struct{}

// Take panics.
func (Poison) Take(struct{}, *int) error { panic("poison") }

// Counter is a service that counts its calls.
type Counter struct{ N atomic.Int64 }

// Count returns how many calls there were.
func (c *Counter) Count(_ struct{}, n *int64) error {
	*n = c.N.Add(1)
	return nil
}

// Runs returns how often each number stands in what a service has noted: a line for each
// run.
func Runs(t *testing.T, notes []byte) map[int]int {
	t.Helper()
	runs := make(map[int]int)
	for line := range bytes.Lines(notes) {
		n, err := strconv.Atoi(string(bytes.TrimSpace(line)))
		require.NoError(t, err)
		runs[n]++
	}
	return runs
}
