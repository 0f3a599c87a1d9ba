package jsonrpc2

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/rpc"
	"slices"
	"strconv"
	"time"
)

// pendingCalls are the calls that wait for their answers, and the notifications that
// wait to be sent. The codec's mu protects them.
type pendingCalls struct {
	bySeq    map[uint64]*pendingCall
	oldest   *pendingCall // those that Timeout ends are a list, by age
	newest   *pendingCall
	timer    *time.Timer   // runs expire
	armed    bool          // timer will fire
	closed   bool          // by endAll: the timer is not set again
	idle     chan struct{} // closed when all has ended; nil: not shut down
	unread   bool          // the reading goroutine has ended
	cut      int           // how many ended with the client
	sent     uint64        // seq of the last call or notification that was added
	nameless nameless      // the last one
}

// A nameless error is one without an id: it does not say which call it is about.
type nameless struct {
	err  error  // nil: there was none
	sent uint64 // pendingCalls.sent when it came
}

// A pendingCall is a call that waits for its answer, or a notification that waits to
// be sent. It is pending from add until it is removed. Whoever removes it ends it, once.
type pendingCall struct {
	Request
	codec        *clientCodec
	seq          uint64
	call         *call         // nil for a plain client.Call
	notification *notification // nil: it is a call
	onEnd        func(error)   // what Begin has returned; nil for nothing

	expires    time.Time    // by Timeout; zero: it does not
	prev, next *pendingCall // in the list of those that expire
}

func (p *pendingCall) isNotification() bool  { return p.notification != nil }
func (p *pendingCall) hasNotification() bool { return p.notification != nil }

func (p *pendingCall) id() string {
	if p.notification != nil {
		return ""
	}
	var buf [48]byte
	return string(strconv.AppendUint(append(buf[:0], p.codec.id[1:]...), p.seq, 10))
}

// add makes a call or a notification pending, before its request is sent. It fails if the
// connection has ended, or after Shutdown.
func (c *clientCodec) add(p *pendingCall) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.connErr != nil {
		return fmt.Errorf("%w: the connection has ended: %w", ErrUnavailable, c.connErr)
	}
	if c.pending.idle != nil {
		return fmt.Errorf("%w: the client is being shut down: %w", ErrUnavailable, rpc.ErrShutdown)
	}
	c.pending.bySeq[p.seq], c.pending.sent = p, p.seq
	if p.expires.IsZero() {
		return nil
	}
	if p.prev = c.pending.newest; p.prev != nil {
		p.prev.next = p
	} else {
		c.pending.oldest = p
	}
	c.pending.newest = p
	c.arm(c.opts.Timeout)
	return nil
}

// arm makes sure that expire runs within d. Nobody stops the timer when the call is answered
// that it was set for: it then fires in vain. So a busy client sets it once per Timeout, not
// once per call.
func (c *clientCodec) arm(d time.Duration) {
	switch {
	case c.pending.armed || c.pending.closed:
		return
	case c.pending.timer == nil:
		c.pending.timer = time.AfterFunc(d, c.expire)
	default:
		c.pending.timer.Reset(d)
	}
	c.pending.armed = true
}

// expire ends the calls and notifications that are due. All have the same timeout,
// so the oldest is due first.
func (c *clientCodec) expire() {
	err := fmt.Errorf("%w after %v", ErrTimeout, c.opts.Timeout)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending.armed = false
	now := time.Now()
	for p := c.pending.oldest; p != nil && !now.Before(p.expires); p = c.pending.oldest {
		c.remove(p, overdue)
		c.stats.end(endTimedOut)
		if p.notification != nil {
			p.notification.end(unconfirmed(err))
		} else {
			c.failOverdue(p, c.explain(p, err), now)
		}
	}
	if c.pending.oldest != nil {
		c.arm(c.pending.oldest.expires.Sub(now))
	}
}

// sent ends a notification. It does nothing for a call.
func (p *pendingCall) sent() {
	if p.notification != nil && p.codec.complete(p) {
		p.codec.stats.end(endSent)
		p.notification.end(nil)
	}
}

// end makes Notify return. It is called once, by what has removed the notification.
func (n *notification) end(err error) { n.ended <- err }

// unconfirmed returns the error of a notification of which nothing else is known.
func unconfirmed(err error) error { return fmt.Errorf("%w: %w", ErrUnconfirmed, err) }

// fail ends a call or a notification that failed on its way. After an ErrUnconfirmed a call
// waits on for its answer. Once nobody reads, net/rpc has ended the calls, and endAll counts them.
func (p *pendingCall) fail(err error) {
	if p.notification == nil && isUnconfirmed(err) {
		return
	}
	err = withSentinel(err, ErrReplyLost)
	c := p.codec
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.notification == nil && c.pending.unread {
		p.finish(canceled)
		return
	}
	if !c.removePending(p, canceled) {
		return
	}
	if c.failures.stopped {
		c.pending.cut++
	}
	c.end(p, err)
}

// end ends a call or a notification with the error of its request, and counts it. p was
// removed before. end is called with c.mu locked.
func (c *clientCodec) end(p *pendingCall, err error) {
	if p.notification != nil {
		c.failNotification(p, err)
		return
	}
	c.stats.end(endWith(err)) // before anybody learns of it
	c.fail(p, err)
}

// failNotification ends a notification that was removed.
func (c *clientCodec) failNotification(p *pendingCall, err error) {
	err = notificationError(err)
	c.stats.end(endWith(err))
	p.notification.end(err)
}

// notificationError returns the error of a notification for that of its request. It is an
// ErrUnconfirmed unless the request certainly did not run: no reply can be lost or bad.
func notificationError(err error) error {
	if certainlyNotRun(err) || isUnconfirmed(err) {
		return err
	}
	return unconfirmed(err)
}

// fail queues the error of a call that was removed, for the reading goroutine to end the
// call with. It is called with c.mu locked.
func (c *clientCodec) fail(p *pendingCall, err error) {
	c.failures.calls = append(c.failures.calls, failure{p, err})
	c.failures.interrupt()
}

// connEnded fails all pending requests, as conn has ended with cause. While the client is
// being closed, endAll and net/rpc do that. connEnded first waits until the WriteRequest
// under way has returned: a request that the Conn refuses has certainly not run.
func (c *clientCodec) connEnded(cause error) {
	if cause == io.EOF {
		cause = io.ErrUnexpectedEOF // as net/rpc calls it
	}
	for _, p := range c.refuse(cause) {
		sentinel := ErrReplyLost
		if p.notification != nil {
			sentinel = ErrUnconfirmed
		}
		p.fail(fmt.Errorf("%w: the connection has ended: %w", sentinel, cause))
	}
}

// refuse makes add fail from now on, since conn has ended with cause. It returns the pending
// requests, in their order, but none while the client is being closed.
func (c *clientCodec) refuse(cause error) (waiting []*pendingCall) {
	c.writing.Lock()
	defer c.writing.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connErr = cause
	if !c.closing {
		waiting = slices.SortedFunc(maps.Values(c.pending.bySeq), func(a, b *pendingCall) int { return cmp.Compare(a.seq, b.seq) })
	}
	return waiting
}

// endAll ends the requests that are still pending when the Conn is closed. net/rpc ends the
// calls among them.
func (c *clientCodec) endAll() {
	c.mu.Lock()
	calls := c.cutOff(endClosed, rpc.ErrShutdown)
	c.pending.closed = true
	if c.pending.timer != nil {
		c.pending.timer.Stop()
	}
	c.mu.Unlock()
	tellAll(calls)
}

// giveUpReading ends all pending requests, because a result did not fit: net/rpc then ends all
// calls and reads no more.
func (c *clientCodec) giveUpReading(cause error) {
	c.mu.Lock()
	c.connErr, c.pending.unread = cause, true
	calls := c.cutOff(endReplyLost, cause)
	c.mu.Unlock()
	tellAll(calls)
}

// cutOff ends all pending requests and counts them. It returns the calls among them and those
// that have failed since nobody reads: net/rpc ends both, and their Begin is still to be told.
// It is called with c.mu locked.
func (c *clientCodec) cutOff(end clientEnd, cause error) (calls []failure) {
	if c.pending.unread {
		calls, c.failures.calls = c.failures.calls, nil
	}
	lost := endError(cause, true) // as Call returns it
	for _, p := range c.pending.bySeq {
		p.finish(canceled)
		switch {
		case p.notification == nil:
			c.stats.end(end)
			calls = append(calls, failure{p, lost})
		case end == endClosed:
			c.stats.end(end)
			p.notification.end(unconfirmed(errClosed))
		default:
			c.failNotification(p, unconfirmed(cause))
		}
	}
	c.pending.cut += len(c.pending.bySeq)
	clear(c.pending.bySeq)
	c.pending.oldest, c.pending.newest = nil, nil
	c.pending.endIdle()
	return calls
}

// tellAll tells Begin of calls that have ended with the client.
func tellAll(calls []failure) {
	for _, f := range calls {
		f.call.tell(f.err)
	}
}

// giveUp ends a call with an error of its ctx, and returns the error with what else is
// known. more reports whether the caller should wait for an inquiry.
func (c *clientCodec) giveUp(p *pendingCall, err error) (explained error, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !errors.Is(p.ctx.Err(), context.DeadlineExceeded) {
		if c.removePending(p, canceled) {
			c.stats.end(endCanceled)
			c.fail(p, err)
			c.withdraw(p)
		}
		return err, false
	}
	if !c.removePending(p, overdue) {
		return err, false
	}
	c.stats.end(endTimedOut)
	err = c.explain(p, err)
	return err, c.failOverdue(p, err, time.Now())
}

// giveUpNotification ends a notification with an error of its ctx, and returns what
// Notify is to return.
func (c *clientCodec) giveUpNotification(p *pendingCall, err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	end, counted := canceled, endCanceled
	if errors.Is(err, ErrTimeout) {
		end, counted = overdue, endTimedOut
	}
	if !c.removePending(p, end) {
		return <-p.notification.ended // it has just ended otherwise
	}
	c.stats.end(counted)
	return unconfirmed(err)
}

// errClosed says why a notification has ended that was pending when the client was closed.
var errClosed = fmt.Errorf("the client has ended: %w", rpc.ErrShutdown)

// explain adds to the error of a call that was not answered in time the last error
// without an id that came while it waited. It is called with c.mu locked.
func (c *clientCodec) explain(p *pendingCall, err error) error {
	if c.pending.nameless.err == nil || p.seq > c.pending.nameless.sent {
		return err
	}
	return fmt.Errorf("%w; an error that names no call came meanwhile: %q", err, quote(c.pending.nameless.err.Error()))
}

// complete removes a notification that was sent, or a request that the Conn has refused. It
// reports whether that was still pending.
func (c *clientCodec) complete(p *pendingCall) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.removePending(p, canceled)
}

// removeByID removes and returns the pending call that an answer's id names, nil if there
// is none. ours reports whether this client ever made a call of this id. An id counts only
// if it is that of a call byte for byte.
func (c *clientCodec) removeByID(id []byte) (p *pendingCall, ours bool) {
	digits, ok := bytes.CutPrefix(id, []byte(c.id))
	if !ok || len(digits) == 0 {
		return nil, false
	}
	digits = digits[:len(digits)-1]
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if p = c.pending.bySeq[seq]; p != nil && p.notification == nil {
		c.remove(p, canceled)
		return p, true
	}
	return nil, seq <= c.pending.sent
}

// removePending removes a call or a notification unless that was done before, and reports
// whether it did. The caller then has to end it. removePending is called with c.mu locked.
func (c *clientCodec) removePending(p *pendingCall, end int32) bool {
	if c.pending.bySeq[p.seq] != p {
		return false
	}
	c.remove(p, end)
	return true
}

// remove removes a pending call or notification, and ends its Request. It is called with c.mu
// locked.
func (c *clientCodec) remove(p *pendingCall, end int32) {
	delete(c.pending.bySeq, p.seq)
	if c.pending.idle != nil {
		c.failures.interrupt() // see nextFailure
	}
	p.finish(end)
	if p.expires.IsZero() {
		return
	}
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		c.pending.oldest = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		c.pending.newest = p.prev
	}
	p.prev, p.next = nil, nil
}
