package jsonrpc2

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A streamHost is what the StreamConns of a listener share. It is nil for a stream by
// itself, which has no such limits: the methods may be called on nil.
type streamHost struct {
	began     time.Time       // when its clock was 0, see now
	graceDone <-chan struct{} // closed when the grace of a drain is over
	maxUnsent int64           // bytes
	unsent    atomic.Int64    // bytes of answers that wait
	counts    *ListenerStats
	relieve   func() // cuts off connections until unsent is no more than maxUnsent

	readBuffers, writeBuffers sync.Pool // of *readBuffer and *writeBuffers
}

// handshakeLimit is how long the TLS handshake of a listener's connection may take.
const handshakeLimit = 10 * time.Second

// handshakeTime returns how long a TLS handshake may take; 0: for ever.
func (h *streamHost) handshakeTime() time.Duration {
	if h == nil {
		return 0
	}
	return handshakeLimit
}

// now returns the time by the host's clock. Unlike a time.Time it fits into an atomic.Int64.
func (h *streamHost) now() time.Duration {
	if h == nil {
		return 0
	}
	return time.Since(h.began)
}

// newBuffers returns spare buffers, or new ones.
func (h *streamHost) newBuffers() *writeBuffers {
	if h != nil {
		if b, ok := h.writeBuffers.Get().(*writeBuffers); ok {
			return b
		}
	}
	return new(writeBuffers)
}

// graceOver returns a channel that is closed when the grace of a drain is over; nil: never.
func (h *streamHost) graceOver() <-chan struct{} {
	if h == nil {
		return nil
	}
	return h.graceDone
}

// waits notes that more bytes of answers wait. It reports whether too many wait now: the caller
// then has to call relieve, with no lock held.
func (h *streamHost) waits(bytes int) (tooMany bool) {
	if h == nil {
		return false
	}
	h.counts.unsent.Add(int64(bytes))
	return h.unsent.Add(int64(bytes)) > h.maxUnsent
}

// nowait notes that so many bytes of answers no longer wait.
func (h *streamHost) nowait(bytes int) {
	if h != nil && bytes > 0 {
		h.counts.unsent.Add(-int64(bytes))
		h.unsent.Add(-int64(bytes))
	}
}

// errSlow is why relieve has cut off a connection.
var errSlow = errors.New("jsonrpc2: connection cut off: too many answers wait, and most for this peer")

// A load is what waits for one peer.
type load struct {
	bytes int           // of answers
	still time.Duration // since the peer last took some
}

// weight says which connection is cut off first: the one with the largest weight. A byte for
// a peer that has taken nothing for a second weighs ten times as much as one for a peer that
// has just taken some.
func (l load) weight() int64 {
	return int64(l.bytes) * int64(min(max(l.still, time.Second/10), time.Second))
}

// load returns what waits for the peer. It returns the zero load if the stream has failed.
func (w *streamWriter) load() load {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.end.err != nil {
		return load{}
	}
	return load{w.replies + w.sending.replies, w.host.now() - w.moved}
}

// cutOff makes the writing fail with why, if any answer waits. It reports whether one does. It
// interrupts the Write that hangs; the goroutine of the writer then closes the stream.
func (w *streamWriter) cutOff(why error) bool {
	w.mu.Lock()
	replies := w.replies + w.sending.replies
	if replies == 0 || w.end.err != nil {
		w.mu.Unlock()
		return false
	}
	w.end.err, w.end.cutOff = why, true
	w.host.nowait(replies)
	w.replies, w.sending.replies = 0, 0
	w.mu.Unlock()
	if conn, ok := w.w.(net.Conn); !ok || conn.SetWriteDeadline(time.Unix(1, 0)) != nil {
		_ = w.w.Close()
	}
	return true
}

// A readState says what the reading goroutine of a listener's stream does.
type readState struct {
	waits atomic.Bool  // it is waiting for the peer to send something
	last  atomic.Int64 // when something last came or a call last ended, by the host's clock
	idle  atomic.Bool  // endIdle has interrupted it
}

// idleSince returns since when nothing was read or written, by the host's clock. ok is false
// if the stream waits for neither: the codec is busy.
func (c *StreamConn) idleSince() (at time.Duration, ok bool) {
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	waits := c.reads.waits.Load() || c.out.sending.bytes > 0
	return max(time.Duration(c.reads.last.Load()), c.out.moved), waits
}

// stir notes that a call has ended. Its answer is still to be encoded, so the stream is not
// idle yet.
func (c *StreamConn) stir() { c.reads.last.Store(int64(c.host.now())) }

// endIdle ends the stream, on which nothing has come or gone for too long.
func (c *StreamConn) endIdle() {
	if c.out.cutOff(errIdle) {
		return
	}
	c.reads.idle.Store(true)
	if d, ok := c.rwc.(deadliner); !ok || d.SetReadDeadline(time.Unix(1, 0)) != nil {
		_ = c.rwc.Close()
	}
}

var errIdle = errors.New("jsonrpc2: connection cut off: its peer took no answer for too long")
