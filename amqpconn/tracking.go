package amqpconn

import (
	"sync"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A tracking is the tracked messages of a channel, and bounds their number. The writer adds
// a message, the listener takes it over, and removes it when its fate is known.
type tracking[T any] struct {
	undecided sync.WaitGroup // the messages whose fate is not known
	added     chan struct{}  // receives if there may be something in unseen

	mu       sync.Mutex   // protects following
	unseen   []tracked[T] // messages that the listener has not taken over yet
	messages int          // how many are undecided
	bytes    int          // in the bodies of these
	awaited  bool         // the writer waits for room
	stopped  bool         // nothing more is published, see publishSession.stop
}

const (
	// maxUnseen is how many messages an empty unseen keeps room for.
	maxUnseen = 1024

	// maxUnconfirmed and maxUnconfirmedBytes bound what waits for its confirm. A broker
	// confirms thousands of messages at once, so the bounds slow nobody down.
	maxUnconfirmed      = 4096
	maxUnconfirmedBytes = 16 << 20
)

// add adds a message that was published. It is called with t.mu held, so that no message
// is added after stop.
func (t *tracking[T]) add(m tracked[T]) {
	t.undecided.Add(1)
	t.messages++
	t.bytes += m.size
	t.unseen = append(t.unseen, m)
	link.Signal(t.added)
}

// isFull reports whether a message has to wait for the confirms of others. If so, a later
// remove says when there is room.
func (t *tracking[T]) isFull() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	full := t.messages >= maxUnconfirmed || t.bytes >= maxUnconfirmedBytes
	t.awaited = t.awaited || full
	return full
}

// remove removes a message whose fate is known. It reports whether a writer that waits has
// room again: half of the bounds, so that its next messages travel together.
func (t *tracking[T]) remove(m *tracked[T]) (room bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.messages--
	t.bytes -= m.size
	room = t.awaited && t.messages <= maxUnconfirmed/2 && t.bytes <= maxUnconfirmedBytes/2
	t.awaited = t.awaited && !room
	t.undecided.Done()
	return room
}

// appendUnseen appends to seen the messages that were published since its last call.
func (t *tracking[T]) appendUnseen(seen []tracked[T]) []tracked[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen = append(seen, t.unseen...)
	clear(t.unseen) // the array would keep their bodies alive
	t.unseen = t.unseen[:0]
	if cap(t.unseen) > maxUnseen {
		t.unseen = nil
	}
	return seen
}
