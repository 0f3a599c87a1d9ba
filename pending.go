package jsonrpc2

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// add notes a call before its request is sent, and when it times out.
func (c *clientCodec) add(p *pendingCall) {
	timeout := c.opts.Timeout
	if _, ok := p.Context.Deadline(); ok || timeout < 0 {
		timeout = 0 // Call sees to it
	} else {
		p.deadline = time.Now().Add(timeout)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending[p.seq], c.sent = p, p.seq
	if timeout == 0 {
		return
	}
	if p.prev = c.newest; p.prev != nil {
		p.prev.next = p
	} else {
		c.oldest = p
	}
	c.newest = p
	c.arm(timeout)
}

// arm makes sure that expire runs no later than after d. The timer is left to
// fire in vain when the call it was set for is answered: a busy client sets it
// once per Timeout, not once per call.
func (c *clientCodec) arm(d time.Duration) {
	switch {
	case c.armed || c.closed:
		return
	case c.timer == nil:
		c.timer = time.AfterFunc(d, c.expire)
	default:
		c.timer.Reset(d)
	}
	c.armed = true
}

// expire ends the calls that are due. All of them have the same timeout, so
// that the first is the oldest.
func (c *clientCodec) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.armed = false
	now := time.Now()
	for p := c.oldest; p != nil && !now.Before(p.deadline); p = c.oldest {
		c.remove(p)
		c.stats.Timeouts.Add(1)
		c.failOverdue(p, c.explain(p, fmt.Errorf("%w after %v", ErrTimeout, c.opts.Timeout)), now)
	}
	if c.oldest != nil {
		c.arm(c.oldest.deadline.Sub(now))
	}
}

// fail has the reading goroutine end a call that was removed.
func (c *clientCodec) fail(p *pendingCall, err error) {
	c.failures = append(c.failures, failure{p, err})
	c.interrupt()
}

// giveUp ends a call with an error of its ctx, and returns the error with what is
// known beside it. It reports whether the caller should wait for an inquiry.
func (c *clientCodec) giveUp(seq uint64, err error) (explained error, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.pending[seq]
	if p == nil {
		return err, false
	}
	c.remove(p)
	if errors.Is(err, ErrTimeout) {
		c.stats.Timeouts.Add(1)
		err = c.explain(p, err)
		return err, c.failOverdue(p, err, time.Now())
	}
	c.fail(p, err)
	c.withdraw(p)
	return err, false
}

// explain adds to the error of a call that was not answered in time the last error
// without an id that came while it waited. It is called with c.mu locked.
func (c *clientCodec) explain(p *pendingCall, err error) error {
	if c.nameless.err == nil || p.seq > c.nameless.sent {
		return err
	}
	return fmt.Errorf("%w; an error that names no call came meanwhile: %q", err, quote(c.nameless.err.Error()))
}

// take removes a call that is answered, or was not sent. It is nil for one that
// nobody waits for; ours reports whether there was such a call.
func (c *clientCodec) take(seq uint64) (p *pendingCall, ours bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p = c.pending[seq]; p != nil {
		c.remove(p)
	}
	return p, seq <= c.sent
}

// takeID is take by the id on the wire. Only the very text that we sent counts.
func (c *clientCodec) takeID(id []byte) (p *pendingCall, ours bool) {
	digits, ok := bytes.CutPrefix(id, []byte(c.id))
	if !ok || len(digits) == 0 {
		return nil, false
	}
	digits = digits[:len(digits)-1]
	seq, err := strconv.ParseUint(string(digits), 10, 64)
	if err != nil || len(digits) > 1 && digits[0] == '0' {
		return nil, false
	}
	return c.take(seq)
}

func (c *clientCodec) remove(p *pendingCall) {
	delete(c.pending, p.seq)
	if p.deadline.IsZero() {
		return
	}
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		c.oldest = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		c.newest = p.prev
	}
	p.prev, p.next = nil, nil
}
