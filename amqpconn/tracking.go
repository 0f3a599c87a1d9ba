package amqpconn

import (
	"sync"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A tracking is the tracked messages of a channel. It bounds those that wait for their
// confirms.
type tracking[T any] struct {
	unreported sync.WaitGroup // the messages whose fate is not reported
	added      chan struct{}  // receives if there may be something in unseen

	mu       sync.Mutex   // protects following
	unseen   []tracked[T] // by the listener
	messages int          // whose fate is not known
	bytes    int          // in their bodies
	awaited  bool         // the writer waits for room
	stopped  bool         // nothing more is tracked
}

const (
	// maxUnseen is for how many messages room is kept.
	maxUnseen = 1024

	// maxUnconfirmed and maxUnconfirmedBytes bound what waits for its confirm. A broker
	// confirms thousands at once, so that this slows down nobody.
	maxUnconfirmed      = 4096
	maxUnconfirmedBytes = 16 << 20
)

// add adds a message that was published. It is called with t.mu held.
func (t *tracking[T]) add(m tracked[T]) {
	t.unreported.Add(1)
	t.messages++
	t.bytes += m.size
	t.unseen = append(t.unseen, m)
	link.Signal(t.added)
}

// isFull reports whether a message has to wait for the confirms of others. The listener
// then says when there is room.
func (t *tracking[T]) isFull() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	full := t.messages >= maxUnconfirmed || t.bytes >= maxUnconfirmedBytes
	t.awaited = t.awaited || full
	return full
}

// remove removes a message whose fate is known. It reports whether there is room again for
// a writer that waits, and for so much that its next messages travel together.
func (t *tracking[T]) remove(m *tracked[T]) (room bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.messages--
	t.bytes -= m.size
	room = t.awaited && t.messages <= maxUnconfirmed/2 && t.bytes <= maxUnconfirmedBytes/2
	t.awaited = t.awaited && !room
	t.unreported.Done()
	return room
}

// appendUnseen appends what was published since the last time.
func (t *tracking[T]) appendUnseen(seen []tracked[T]) []tracked[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen = append(seen, t.unseen...)
	clear(t.unseen) // what is done with is not kept alive
	t.unseen = t.unseen[:0]
	if cap(t.unseen) > maxUnseen {
		t.unseen = nil
	}
	return seen
}
