package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/rpc"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// An effort says how long to measure.
type effort struct {
	rounds     int           // a row's value is their median
	slices     int           // turns of a side in each round
	warmUp     time.Duration // calls before the first round
	heapCalls  int           // calls over which the heap must not grow
	settle     time.Duration // from the last call of what is idle to the watch
	idle       time.Duration // how long idle ends are watched
	compare    repeats       // of a contest with another checkout
	growth     repeats       // of a contest with fewer callers
	growthTurn time.Duration // a turn of either side in the latter
}

// Repeats say how often a contest of two processes is held.
type repeats struct {
	processes int // of each side, one after another
	pairs     int // measured by each two of them
}

var (
	fullEffort = effort{
		rounds: 5, slices: 10, warmUp: time.Second, heapCalls: 5_000_000,
		settle: 30 * time.Second, idle: time.Minute,
		compare: repeats{processes: 5, pairs: 4}, growth: repeats{processes: 5, pairs: 4}, growthTurn: time.Second,
	}
	quickEffort = effort{
		rounds: 3, slices: 2, warmUp: 100 * time.Millisecond, heapCalls: 200_000,
		settle: 3 * time.Second, idle: 10 * time.Second,
		compare: repeats{processes: 2, pairs: 4}, growth: repeats{processes: 1, pairs: 3}, growthTurn: 500 * time.Millisecond,
	}
)

// sliceOf returns how long a side with so many callers calls in one turn. That is short, so
// that what else the machine does affects both sides, but long enough that each of thousands
// of callers makes many calls.
func sliceOf(callers int) time.Duration {
	return 100 * time.Millisecond * time.Duration(1+callers/1024)
}

// A target is a service with its client, ready for calls.
type target struct {
	callers int             // how many call at once
	client  *rpc.Client     // nil if the side has none
	call    func(int) error // makes one call for the n-th caller, and checks the answer
	ruby    []string        // the program in Ruby that calls the service, and its first arguments
	conns   func() int      // returns the connections to the broker; nil if no row needs them
	closers []func()        // called last in, first out
}

// An opener makes t ready for t.callers.
type opener func(env *environment, t *target) error

// A transport is a way for calls to travel. The names of the rows that measure one of ours
// begin with its name.
type transport struct {
	name string
	open opener
}

// with returns the side that calls over a transport.
func (t transport) with(callers int) side { return side{t, callers} }

// A side is one of the two that a row compares. Without an opener, it is absent.
type side struct {
	transport
	callers int
}

// theirs returns a side that is not ours. It needs no name.
func theirs(o opener, callers int) side { return transport{open: o}.with(callers) }

func (s side) String() string {
	if s.callers == 1 {
		return s.name + ", 1 caller"
	}
	return fmt.Sprintf("%s, %d callers", s.name, s.callers)
}

// open opens a side. Its caller closes the target.
func open(env *environment, s side) (*target, error) {
	t := &target{callers: s.callers}
	if err := s.open(env, t); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// onClose makes close call f.
func (t *target) onClose(f func()) { t.closers = append(t.closers, f) }

// start runs f on a goroutine. close calls stop, which ends f, and waits for f.
func (t *target) start(f, stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	t.onClose(func() {
		stop()
		<-done
	})
}

// close undoes what the opener did, last first.
func (t *target) close() {
	for _, f := range slices.Backward(t.closers) {
		f()
	}
}

// A sample counts some calls, and the time that they took together.
type sample struct {
	calls   int
	elapsed time.Duration
}

func (s sample) rate() float64 { return float64(s.calls) / s.elapsed.Seconds() }

// during makes all callers call, each one call after another, for as long as d.
func (t *target) during(ctx context.Context, d time.Duration) (sample, error) {
	var over atomic.Bool
	defer time.AfterFunc(d, func() { over.Store(true) }).Stop()
	s, err := t.callWhile(func() bool { return !over.Load() })
	return s, cmp.Or(err, ctx.Err())
}

// times makes the callers make n calls in all.
func (t *target) times(ctx context.Context, n int) (sample, error) {
	var left atomic.Int64
	left.Store(int64(n))
	s, err := t.callWhile(func() bool { return left.Add(-1) >= 0 && ctx.Err() == nil })
	return s, cmp.Or(err, ctx.Err())
}

// callWhile makes all callers call while more returns true. An error ends its caller alone.
// callWhile returns the error of the first caller that has one.
func (t *target) callWhile(more func() bool) (sample, error) {
	counts := make([]int, t.callers)
	errs := make([]error, t.callers)
	var callers sync.WaitGroup
	start := time.Now()
	for i := range t.callers {
		callers.Go(func() {
			for more() && errs[i] == nil {
				errs[i] = t.call(i)
				counts[i]++
			}
		})
	}
	callers.Wait()
	s := sample{elapsed: time.Since(start)}
	for _, n := range counts {
		s.calls += n
	}
	return s, cmp.Or(errs...)
}

// A duel has the results of the rounds of two sides.
type duel struct {
	ours, theirs []float64 // calls per second
}

// fight makes two sides take turns. If ours is absent, theirs takes all turns.
func fight(env *environment, ours, theirs side) (d duel, err error) {
	var a *target
	if ours.open != nil {
		if a, err = warm(env, ours); err != nil {
			return d, err
		}
		defer a.close()
	}
	b, err := warm(env, theirs)
	if err != nil {
		return d, err
	}
	defer b.close()
	for range env.effort.rounds {
		if err := d.round(env, a, b); err != nil {
			return d, err
		}
	}
	return d, nil
}

// warm opens a side and calls it for env.effort.warmUp.
func warm(env *environment, s side) (*target, error) {
	t, err := open(env, s)
	if err != nil {
		return nil, err
	}
	if _, err := t.during(env.ctx, env.effort.warmUp); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// round makes the sides take turns, slice by slice. It collects garbage first: what earlier
// rounds left would slow it down.
func (d *duel) round(env *environment, ours, theirs *target) error {
	runtime.GC()
	var a, b sample
	for range env.effort.slices {
		if ours != nil {
			if err := a.add(env, ours); err != nil {
				return err
			}
		}
		if err := b.add(env, theirs); err != nil {
			return err
		}
	}
	if ours != nil {
		d.ours = append(d.ours, a.rate())
	}
	d.theirs = append(d.theirs, b.rate())
	return nil
}

// add adds one slice of t's calls.
func (s *sample) add(env *environment, t *target) error {
	slice, err := t.during(env.ctx, sliceOf(t.callers))
	s.calls += slice.calls
	s.elapsed += slice.elapsed
	return err
}

// ratios returns the ratios of our calls per second to theirs, round by round.
func (d *duel) ratios() []float64 {
	ratios := make([]float64, len(d.ours))
	for i := range ratios {
		ratios[i] = d.ours[i] / d.theirs[i]
	}
	return ratios
}

// median returns the middle value, or the mean of the middle two. It returns 0 if there are
// none.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	switch {
	case n == 0:
		return 0
	case n%2 == 0:
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[n/2]
}

// medianOf returns the median of a figure of each item.
func medianOf[T any](items []T, figure func(T) float64) float64 {
	return median(figures(items, figure))
}

// figures returns a figure of each item.
func figures[T any](items []T, figure func(T) float64) (values []float64) {
	for _, item := range items {
		values = append(values, figure(item))
	}
	return values
}

// quantile returns the value that a share q of the values does not exceed.
func quantile[T float64 | time.Duration](values []T, q float64) T {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// allocations returns the allocations per call of both ends, rounded to a tenth: the callers'
// own goroutines add some hundredths.
func allocations(env *environment, s side) (float64, error) {
	t, err := warm(env, s)
	if err != nil {
		return 0, err
	}
	defer t.close()
	var perCall []float64
	for range env.effort.rounds {
		before := mallocs()
		turn, err := t.during(env.ctx, time.Duration(env.effort.slices)*sliceOf(s.callers))
		if err != nil {
			return 0, err
		}
		perCall = append(perCall, float64(mallocs()-before)/float64(turn.calls))
	}
	return math.Round(10*median(perCall)) / 10, nil
}

// mallocs returns how many allocations this process has made.
func mallocs() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.Mallocs
}

// heapGrowth returns by how many bytes per call the heap of a target grows.
func heapGrowth(env *environment, s side) (float64, error) {
	t, err := open(env, s)
	if err != nil {
		return 0, err
	}
	defer t.close()
	n := env.effort.heapCalls
	if _, err := t.times(env.ctx, n/10); err != nil {
		return 0, err
	}
	before := liveHeap()
	if _, err := t.times(env.ctx, n); err != nil {
		return 0, err
	}
	return float64(liveHeap()-before) / float64(n), nil
}

// liveHeap returns the bytes in use after a collection. It collects twice, since what is in a
// sync.Pool outlives one collection.
func liveHeap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// checkSum returns an error unless sum is 1 + 5.1, which every caller asks for.
func checkSum(sum float64) error {
	if sum != 6.1 {
		return fmt.Errorf("1 + 5.1 is not %v", sum)
	}
	return nil
}
