package link

import (
	"net"
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/yield"
)

// maxWaiting is how many bytes an Outbox holds: what ClientConn.WriteRequest
// promises.
const maxWaiting = 16 << 20

// maxSpare is for how many items room is kept.
const maxSpare = 1024

// An Outbox holds what waits for a connection's one writer, which takes all of
// it in one go.
type Outbox[T any] struct {
	Limited bool // to 16 MiB

	// LoneCaller, if set before Run, reports that what waits is all that can be handed
	// over soon. A guess will do.
	LoneCaller func() bool

	wake    chan struct{} // holds one if there may be something to take
	closing chan struct{} // closed by Close

	mu      sync.Mutex // protects following
	waiting []T
	bytes   int // of what waits, and of what was taken and not yet done
	closed  bool
}

// NewOutbox returns an empty Outbox.
func NewOutbox[T any](limited bool) *Outbox[T] {
	return &Outbox[T]{Limited: limited, wake: make(chan struct{}, 1), closing: make(chan struct{})}
}

// Put hands an item over and never blocks. It fails with ErrOverloaded, or
// with net.ErrClosed.
func (o *Outbox[T]) Put(item T, bytes int) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return net.ErrClosed
	case o.Limited && o.bytes+bytes > maxWaiting:
		return jsonrpc2.ErrOverloaded
	}
	o.waiting = append(o.waiting, item)
	o.bytes += bytes
	Signal(o.wake)
	return nil
}

// Done makes room for as many bytes.
func (o *Outbox[T]) Done(bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= bytes
}

// Ready receives when there may be something to take.
func (o *Outbox[T]) Ready() <-chan struct{} { return o.wake }

// Take takes all that waits, and leaves spare in its place. It is for the
// writer, when the outbox is ready. open is false once the outbox is closed:
// this is then the last.
//
// It first lets callers that are about to hand something over do so, as long as
// some do: net/rpc hands over one message after the other, and a writer that
// did not yield would send each alone. For a lone caller that would be in vain,
// and let other work go before its call.
func (o *Outbox[T]) Take(spare []T) (items []T, open bool) {
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

// A Writer says how Run writes.
type Writer[T any] struct {
	// Send sends all of work, and returns what is to be tried again.
	Send func(work []T) (again []T)
	// Kick, if set, receives when a try has become worth while.
	Kick <-chan struct{}
	// MaxPause is between two tries at most, after a backoff.
	MaxPause time.Duration
	// Grace is for how long to try when the outbox is closed.
	Grace time.Duration
}

// Run is the writer: it sends what waits, again and again, until the outbox is
// closed and all is sent, or the grace is over. It returns what is left.
func (o *Outbox[T]) Run(w Writer[T]) (left []T) {
	var backoff Backoff
	var work, spare []T
	var deadline time.Time
	for {
		if len(work) == 0 {
			<-o.wake
		}
		items, open := o.Take(spare)
		work, spare = append(work, items...), items
		clear(spare) // what is sent is not kept alive
		closing := o.closing
		if !open {
			closing = nil
			if deadline.IsZero() {
				deadline = time.Now().Add(w.Grace)
				backoff.Reset()
			}
		}
		work = w.Send(work)
		delay := w.MaxPause
		if !open {
			delay = min(delay, time.Until(deadline))
		}
		switch {
		case len(work) == 0 && !open:
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

func pause(d time.Duration, kick, closing <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-kick:
	case <-closing:
	}
}

// Close lets Put fail, and Run end.
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
