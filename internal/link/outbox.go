package link

import (
	"net"
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/yield"
)

// maxWaiting is how many bytes an Outbox with a limit holds: jsonrpc2.ClientConn promises so
// for WriteRequest.
const maxWaiting = 16 << 20

// maxSpare is how many items an empty Outbox keeps room for.
const maxSpare = 1024

// An Outbox holds items until a writer takes them, all in one go. Any goroutine may put
// items. One goroutine is the writer: it calls Run, or Take when Ready receives.
type Outbox[T any] struct {
	// LoneCaller, if set before Run, reports whether no caller is about to put an item
	// beside those that wait. A guess will do.
	LoneCaller func() bool

	full    error         // the error of Put beyond maxWaiting; nil for no limit
	wake    chan struct{} // receives if there may be something to take
	closing chan struct{} // closed by Close

	mu      sync.Mutex // protects following
	waiting []T
	bytes   int // of the items that wait, and of those that were taken and are not done
	closed  bool
}

// NewOutbox returns an empty Outbox. If full is not nil, Put fails with full when there would
// be more than 16 MiB.
func NewOutbox[T any](full error) *Outbox[T] {
	return &Outbox[T]{full: full, wake: make(chan struct{}, 1), closing: make(chan struct{})}
}

// Put adds an item of so many bytes, and never blocks. It fails if the Outbox has a limit and
// is full, and with net.ErrClosed after Close.
func (o *Outbox[T]) Put(item T, bytes int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return net.ErrClosed
	case o.full != nil && o.bytes+bytes > maxWaiting:
		return o.full
	}
	o.waiting = append(o.waiting, item)
	o.bytes += bytes
	Signal(o.wake)
	return nil
}

// Done says that items of so many bytes, which were taken, are done with. That makes room for
// others.
func (o *Outbox[T]) Done(bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= bytes
}

// Ready returns a channel that receives when there may be something to take.
func (o *Outbox[T]) Ready() <-chan struct{} { return o.wake }

// Take takes all items that wait. It uses the memory of spare, whose items it clears, for the
// next ones. more reports whether more may come: not after Close.
//
// Take first yields to callers that are about to call Put, as long as some do: net/rpc
// hands over one message after the other, and a writer that did not yield would send each
// by itself. With a lone caller it does not yield: no other item would come, and other
// goroutines would delay the call.
func (o *Outbox[T]) Take(spare []T) (items []T, more bool) {
	if o.LoneCaller == nil || !o.LoneCaller() {
		yield.WhileGrowing(o.Len)
	}
	clear(spare)
	if cap(spare) > maxSpare {
		spare = nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	items, o.waiting = o.waiting, spare[:0]
	return items, !o.closed
}

// Len returns how many items wait.
func (o *Outbox[T]) Len() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting)
}

// Bytes returns how many bytes the items have that wait, or were taken and are not done with.
func (o *Outbox[T]) Bytes() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(o.bytes)
}

// A Writer says how Run writes.
type Writer[T any] struct {
	// Send sends all of work, and returns the items to try again. It may reuse the memory of
	// work. New items follow those that it returns.
	Send func(work []T) (again []T)
	// Kick, if set, receives when it is worth trying again before the pause is over.
	Kick <-chan struct{}
	// MaxPause limits the pause between two tries. A Backoff gives the pauses.
	MaxPause time.Duration
	// Grace is how long Run goes on trying after Close.
	Grace time.Duration
}

// Run is the writer. It sends items until Close was called, and then until all are sent or
// w.Grace is over. It returns those that are left.
func (o *Outbox[T]) Run(w Writer[T]) (left []T) {
	var backoff Backoff
	var work, spare []T
	var deadline time.Time
	for {
		if len(work) == 0 {
			<-o.wake
		}
		items, more := o.Take(spare)
		work, spare = append(work, items...), items
		clear(spare)         // it would keep items alive that are sent
		closing := o.closing // Close ends the pause, but not the pauses after it
		if !more {
			closing = nil
			if deadline.IsZero() {
				deadline = time.Now().Add(w.Grace)
				backoff.Reset()
			}
		}
		work = w.Send(work)
		delay := w.MaxPause
		if !more {
			delay = min(delay, time.Until(deadline))
		}
		switch {
		case len(work) == 0 && !more:
			return nil
		case len(work) == 0:
			backoff.Reset()
		case delay <= 0:
			return work
		default:
			pause(min(backoff.Next(), delay), w.Kick, closing)
		}
	}
}

// pause waits for d, or until kick or closing receives.
func pause(d time.Duration, kick, closing <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-kick:
	case <-closing:
	}
}

// Close makes Put fail, and Run end when it is done. It may be called again.
func (o *Outbox[T]) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed = true
	close(o.closing)
	Signal(o.wake)
}
