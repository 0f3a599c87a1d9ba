package link

import (
	"net"
	"runtime"
	"sync"

	"github.com/micromessaging/jsonrpc2"
)

// maxWaiting is how many bytes an Outbox holds: what Conn.WriteMessage
// promises.
const maxWaiting = 16 << 20

// An Outbox holds what waits for a connection's one writer, which takes all of
// it in one go.
type Outbox[T any] struct {
	Limited bool // to 16 MiB

	wake chan struct{} // holds one if there may be something to take

	mu      sync.Mutex // protects following
	waiting []T
	bytes   int // of what waits, and of what was taken and not yet done
	closed  bool
}

// NewOutbox returns an empty Outbox.
func NewOutbox[T any](limited bool) *Outbox[T] {
	return &Outbox[T]{Limited: limited, wake: make(chan struct{}, 1)}
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
	o.signal()
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
// did not yield would send each alone.
func (o *Outbox[T]) Take(spare []T) (items []T, open bool) {
	for range 4 {
		before := o.Len()
		runtime.Gosched()
		if o.Len() == before {
			break
		}
	}
	clear(spare)
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

// Close lets Put fail, and Take tell the writer.
func (o *Outbox[T]) Close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.signal()
}

func (o *Outbox[T]) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}
