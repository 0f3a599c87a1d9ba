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

// Slow is a service whose calls run until the test lets them go.
type Slow struct {
	Gate    chan struct{} // a value sent lets one call go; Open closes it
	Running atomic.Int64  // calls that run now
	Most    atomic.Int64  // the most that ran at once
	Ran     atomic.Int64  // calls that have ended

	opening sync.Once
	mu      sync.Mutex // protects order, and the update of Most
	order   []int      // see Order
}

// NewSlow returns a Slow whose calls wait.
func NewSlow() *Slow { return &Slow{Gate: make(chan struct{})} }

// Wait waits for Gate, and returns n.
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

// Open lets all calls go, also those that come later. It is idempotent.
func (s *Slow) Open() { s.opening.Do(func() { close(s.Gate) }) }

// Order returns the arguments of the calls, in the order in which the calls began.
func (s *Slow) Order() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]int(nil), s.order...)
}

// RequireRunning requires that n calls run soon.
func (s *Slow) RequireRunning(t *testing.T, n int64) {
	t.Helper()
	Eventually(t, func() bool { return s.Running.Load() == n }, "want %d running calls", n)
}

// Hold is a service whose calls keep their argument in memory until the test lets them go.
type Hold struct{ *Slow }

// Text waits for Gate, and returns the length of text.
func (h Hold) Text(text string, n *int) error {
	err := h.Wait(len(text), n)
	runtime.KeepAlive(text)
	return err
}

// Poison is a service whose method ends the process: net/rpc does not recover its panic.
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

// Runs returns how often each number occurs in notes, which have one number a line: a service
// writes one for each run.
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
