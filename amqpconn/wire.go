package amqpconn

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A wire is the network connection to the broker, between the network, or TLS, and the
// library. It does three things:
//
//   - A writer can hold back what is written, and release it in one write.
//   - A single write fails after writeTimeout: the broker stops reading from publishers
//     when it is short of memory.
//   - A sieve takes headers out of messages if the library can't read them.
type wire struct {
	net.Conn
	sieve *sieve // reads from the Conn

	greeting atomic.Pointer[[]byte] // the first bytes that came; nil until then

	mu   sync.Mutex // protects following, and orders writes
	held bool       // writes go into buf
	buf  []byte

	limitMu sync.Mutex // protects following
	limit   time.Time  // no deadline of the Conn is later; zero for none
}

const (
	writeTimeout = 5 * time.Second // for a single write
	maxHeld      = 256 << 10       // how many bytes buf holds
)

func newWire(conn net.Conn) *wire {
	w := &wire{Conn: conn}
	w.sieve = newSieve(rawWire{w})
	return w
}

// Read implements net.Conn.
func (w *wire) Read(p []byte) (int, error) { return w.sieve.Read(p) }

// A rawWire reads from the Conn, past the sieve, and keeps the greeting.
type rawWire struct{ *wire }

func (w rawWire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if n > 0 && w.greeting.Load() == nil {
		greeting := append([]byte(nil), p[:min(n, maxGreeting)]...)
		w.greeting.Store(&greeting)
	}
	return n, err
}

// maxGreeting is how many bytes a greeting has at most.
const maxGreeting = 64

// isHeard reports whether something has come.
func (w *wire) isHeard() bool { return w.greeting.Load() != nil }

// Write implements net.Conn. While the wire is held it writes to buf, as long as there is
// room. An error of what was held comes from a later Write, or from release.
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

// limitWrite sets the deadline of the next write: writeTimeout from now, or limit. It is
// called with limitMu held.
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
// ends the hold for both, and the other's messages go out one by one from then on.
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

// SetReadDeadline implements net.Conn. The library calls it for each frame that comes. No
// read deadline is later than that of SetDeadline, or a Close would not end in time.
func (w *wire) SetReadDeadline(t time.Time) error {
	w.limitMu.Lock()
	defer w.limitMu.Unlock()
	if !w.limit.IsZero() && (t.IsZero() || w.limit.Before(t)) {
		t = w.limit
	}
	return w.Conn.SetReadDeadline(t)
}

// SetWriteDeadline implements net.Conn. t limits the later read deadlines, too.
func (w *wire) SetWriteDeadline(t time.Time) error {
	w.limitMu.Lock()
	defer w.limitMu.Unlock()
	w.limit = t
	return w.limitWrite()
}
