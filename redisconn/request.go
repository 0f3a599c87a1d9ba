package redisconn

import (
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// A request is on its way to the queue.
type request struct {
	*jsonrpc2.Request // its Handle is this request

	list  string    // to answer on
	until time.Time // sending it is not tried after that

	// Protected by the outlet's pushing.
	deadlineMS int64   // by the broker's clock, as the request carries it; 0 for none
	pushed     bool    // it may have arrived
	buf        *[]byte // the outlet's, for the text of one request
}

// Size implements link.Sendable.
func (r *request) Size() int { return len(r.Body) }

// TriedUntil implements link.Sendable.
func (r *request) TriedUntil() time.Time { return r.until }

// appendTo appends the request as it travels: with the members reply_to and deadline_ms.
func (r *request) appendTo(b []byte) []byte {
	return jsonrpc2.AppendRequest(b, r.Body, r.list, r.deadlineMS)
}

// MarshalBinary returns the request as it travels, in buf, which all requests of a client
// share: go-redis writes one argument before it marshals the next. So a pointer to a request
// can be an argument of a command, and needs no memory of its own for the text.
func (r *request) MarshalBinary() ([]byte, error) {
	*r.buf = r.appendTo((*r.buf)[:0])
	return *r.buf, nil
}

// setDeadline sets the deadline that the request carries: the caller's, if there is one, by the
// broker's clock. It is set at each push, since the clock may have been read again.
func (r *request) setDeadline(c *clock) {
	r.deadlineMS = 0
	if r.hasDeadline() {
		r.deadlineMS = c.toBroker(r.Deadline())
	}
}

// hasDeadline reports whether the caller waits only until a deadline.
func (r *request) hasDeadline() bool { return !r.Deadline().IsZero() }

// maxKept is how many bytes of a buffer are kept for the next message.
const maxKept = 64 << 10

// keep returns a buffer, emptied for the next message, or nil if it has become too large.
func keep(buf []byte) []byte {
	if cap(buf) > maxKept {
		return nil
	}
	return buf[:0]
}
