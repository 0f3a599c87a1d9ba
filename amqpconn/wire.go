package amqpconn

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A wire is a network connection that can hold back what is written, to send it
// in one go, and on which no single write hangs for ever: the broker stops
// reading from publishers when it is short of memory.
type wire struct {
	net.Conn
	sieve *sieve // what is read goes through it

	greeting atomic.Pointer[[]byte] // the first that came

	mu   sync.Mutex // protects following, and orders writes
	held bool
	buf  []byte

	limitMu sync.Mutex // protects following
	limit   time.Time  // of all reads and writes, zero for none
}

const (
	writeTimeout = 5 * time.Second
	maxHeld      = 256 << 10 // bytes
)

func newWire(conn net.Conn) *wire {
	w := &wire{Conn: conn}
	w.sieve = newSieve(rawWire{w})
	return w
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) { return w.sieve.Read(p) }

// A rawWire reads what comes as it comes.
type rawWire struct{ *wire }

func (w rawWire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 && w.greeting.Load() == nil {
		greeting := append([]byte(nil), p[:min(n, maxGreeting)]...)
		w.greeting.Store(&greeting)
	}
	return n, err
}

// maxGreeting is how much is kept of the first that came.
const maxGreeting = 64

// isHeard reports whether something has come.
func (w *wire) isHeard() bool { return w.greeting.Load() != nil }

// Write implements net.Conn.
func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.held && len(w.buf)+len(p) <= maxHeld {
		w.buf = append(w.buf, p...)
		return len(p), nil
	}
	if err := w.flush(); err != nil {
		return 0, err
	}
	return w.write(p)
}

func (w *wire) write(p []byte) (int, error) {
	w.limitMu.Lock()
	err := w.limitWrite()
	w.limitMu.Unlock()
	if err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

// limitWrite is called with limitMu held.
func (w *wire) limitWrite() error {
	deadline := time.Now().Add(writeTimeout)
	if !w.limit.IsZero() && w.limit.Before(deadline) {
		deadline = w.limit
	}
	return w.Conn.SetWriteDeadline(deadline)
}

func (w *wire) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.write(w.buf)
	w.buf = w.buf[:0]
	return err
}

// hold holds back what is written until release. If two writers hold, the first release
// ends it for both: then the other's messages go out one by one.
func (w *wire) hold() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = true
}

// release sends what was held back.
func (w *wire) release() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = false
	return w.flush()
}

// SetDeadline implements net.Conn. It ends a write under way, too.
func (w *wire) SetDeadline(t time.Time) error {
	if err := w.SetWriteDeadline(t); err != nil {
		return err
	}
	return w.SetReadDeadline(t)
}

// SetReadDeadline implements net.Conn. The library sets one with each frame that
// comes; none is later than SetDeadline's, or a Close would not end in time.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.limitMu.Lock()
	defer w.limitMu.Unlock()
	if !w.limit.IsZero() && (t.IsZero() || w.limit.Before(t)) {
		t = w.limit
	}
	return w.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn.
func (w *wire) SetWriteDeadline(t time.Time) error {
	w.limitMu.Lock()
	defer w.limitMu.Unlock()
	w.limit = t
	return w.limitWrite()
}
