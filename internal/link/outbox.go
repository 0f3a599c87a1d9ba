package link

import (
	"net"
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/yield"
)

// maxWaiting is how many bytes an Outbox holds: what ClientConn.WriteRequest
// promises.
const maxWaiting = 16 << 20

// maxSpare is how many items an Outbox keeps room for.
const maxSpare = 1024

// An Outbox holds what waits for a connection's one writer, which takes all of
// it in one go.
type Outbox[T any] struct {
	// LoneCaller, if set before Run, reports whether what waits is all that callers are
	// about to put. A guess will do.
	LoneCaller func() bool

	full    error         // what Put fails with beyond 16 MiB; nil: no limit
	wake    chan struct{} // receives if there may be something to take
	closing chan struct{} // closed by Close

	mu      sync.Mutex // protects following
	waiting []T
	bytes   int // of what waits, and of what was taken and not yet done
	closed  bool
}

// NewOutbox returns an empty Outbox. If full is set, its Put fails with it while more than
// 16 MiB wait.
func NewOutbox[T any](full error) *Outbox[T] {
	return &Outbox[T]{full: full, wake: make(chan struct{}, 1), closing: make(chan struct{})}
}

// Put adds an item of so many bytes, and never blocks. It fails if the
// outbox is limited and full, and with net.ErrClosed after Close.
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

// Done says that so many bytes of what was taken are done with: there is room for others.
func (o *Outbox[T]) Done(bytes int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.bytes -= bytes
}

// Ready returns a channel that receives when there may be something to take.
func (o *Outbox[T]) Ready() <-chan struct{} { return o.wake }

// Take takes all that waits, and leaves spare in its place. The writer calls it when Ready
// has received. more reports whether more may come: not after Close.
//
// Take first yields to callers that are about to call Put, as long as some do: net/rpc
// hands over one message after the other, and a writer that did not yield would send each
// by itself. For a lone caller yielding would be in vain, and other work would go before
// its call.
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

// Bytes returns how many bytes there are of what waits, and of what was taken and is not
// done with.
func (o *Outbox[T]) Bytes() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(o.bytes)
}

// A Writer says how Run writes.
type Writer[T any] struct {
	// Send sends all of work, and returns what to try again.
	Send func(work []T) (again []T)
	// Kick, if set, receives when it is worth trying before the pause is over.
	Kick <-chan struct{}
	// MaxPause limits the pause between two tries, which grows by a backoff.
	MaxPause time.Duration
	// Grace is how long Run tries once the outbox is closed.
	Grace time.Duration
}

// Run is the writer: it sends what waits until the outbox is closed and all is sent, or
// w.Grace is over. It returns what is left then.
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
		clear(spare) // it would keep what is sent alive
		closing := o.closing
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

func pause(d time.Duration, kick, closing <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-kick:
	case <-closing:
	}
}

// Close makes Put fail, and Run end.
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
