package jsonrpc2

import (
	"errors"
	"fmt"
	"log/slog"
	"net/rpc"
)

var errManyItems = fmt.Errorf("batch exceeds the limit of %d items", maxBatchItems)

// unpack scans a reply. ReadResponseHeader then goes through its items. A reply that is
// broken or exceeds a limit has none: unpack fails or logs what it should have answered.
func (c *clientCodec) unpack(reply Reply) {
	c.in.next = 0
	clear(c.in.items)
	c.in.items, c.in.answered, c.in.missing, c.in.served = c.in.items[:0], reply.Request, reply.Missing, false
	err := c.scan(reply.Body)
	if err == nil {
		return
	}
	c.in.items = c.in.items[:0]
	if errors.Is(err, ErrReplyTooLarge) {
		c.failAll(reply.Body, err)
		return
	}
	c.stats.invalid.Add(1)
	switch {
	case c.in.answered == nil:
		c.log.drop("broken reply dropped", reply.Body, slog.Any("error", err))
	case c.in.missing != nil:
		c.in.missing = fmt.Errorf("%w: %w", c.in.missing, err)
	default:
		c.in.missing = fmt.Errorf("%w: %w", ErrBadReply, err)
	}
}

func (c *clientCodec) scan(body []byte) error {
	if limit := c.opts.MaxMessageSize; len(body) > limit {
		return fmt.Errorf("%w: body of %d bytes exceeds the limit of %d", ErrReplyTooLarge, len(body), limit)
	}
	_, err := scanMessage(body, c.opts.MaxDepth, func(e envelope) error {
		if len(c.in.items) == maxBatchItems {
			return errManyItems
		}
		c.in.items = append(c.in.items, e)
		return nil
	})
	if err != nil && !errors.Is(err, errSyntax) {
		return fmt.Errorf("%w: %w", ErrReplyTooLarge, err)
	}
	return err
}

// failAll fails the calls that a reply answers which exceeds a limit.
func (c *clientCodec) failAll(body []byte, err error) {
	failed, late := c.failAnswered(err), 0
	if c.in.answered == nil {
		failed, late = c.failNamed(body, err)
	}
	switch {
	case failed > 0:
	case late > 0:
		c.stats.dropped.Add(1)
		c.log.late(body)
	default:
		c.stats.dropped.Add(1)
		c.log.drop("message dropped", body, slog.Any("error", err))
	}
}

// failNamed fails the pending calls whose ids are in body, and returns their number. late is
// the number of ids of calls that had ended before.
func (c *clientCodec) failNamed(body []byte, err error) (failed, late int) {
	_, _ = scanMessage(body, headerDepth, func(e envelope) error {
		switch p, ours := c.removeByID(e.id); {
		case p != nil:
			c.mu.Lock()
			c.end(p, err)
			c.mu.Unlock()
			failed++
		case ours:
			late++
		}
		return nil
	})
	return failed, late
}

// failAnswered fails the calls and notifications in the request that the current message
// answers. It returns the number of the calls.
func (c *clientCodec) failAnswered(err error) (failed int) {
	if c.in.answered == nil {
		return 0
	}
	c.in.answered.eachCall(func(p *pendingCall) {
		if p.GivenUp() {
			return
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.removePending(p, canceled) {
			return
		}
		if p.notification == nil {
			failed++
		}
		c.end(p, err) // also a notification: the Conn has not said that it was sent
	})
	return failed
}

// answer makes r the response of e, and reports whether a call waits for it. It counts what
// is no such response, and logs it.
func (c *clientCodec) answer(e *envelope, r *rpc.Response) bool {
	var p *pendingCall
	var ours bool
	if e.method == nil || e.result != nil || e.err != nil { // some servers repeat the method in a response
		p, ours = c.removeByID(e.id)
		c.in.served = c.in.served || p != nil || ours
	}
	switch {
	case p == nil && e.isNameless():
		if c.in.nameless == nil {
			c.in.nameless = e
		}
		return false
	case p == nil && (e.invalid != "" || !e.isResponse()):
		c.stats.invalid.Add(1)
		c.log.drop("reply that is no response dropped", e.text)
		return false
	case p == nil && ours:
		c.stats.dropped.Add(1)
		c.log.late(e.text)
		return false
	case p == nil:
		c.stats.dropped.Add(1)
		c.log.drop("reply that nobody waits for dropped", e.text)
		return false
	}
	if err := e.failure(); err != nil {
		c.stats.end(endWith(err))
		p.respond(r, err)
		return true
	}
	r.Seq, c.in.result, c.in.answering = p.seq, e.result, p
	return true
}

// failure returns the error that a response to a call of ours is, nil if it has a
// result.
func (e *envelope) failure() error {
	if err := e.checkResponse(); err != nil {
		return fmt.Errorf("%w: %w: %s", ErrBadReply, err, excerpt(e.text))
	}
	if e.err == nil || kindOf(e.err) == 'n' {
		return nil
	}
	return wireError(e.err)
}

// failNameless fails the calls that an error without an id is about, if it is certain
// which calls those are. Otherwise the error is logged, and kept for explain. A server sends
// such an error for what it does not know as a request, for example a batch.
func (c *clientCodec) failNameless(e *envelope) {
	err := wireError(e.err)
	if c.in.answered != nil {
		if c.failAnswered(err) == 0 {
			c.stats.dropped.Add(1)
			c.log.drop("reply that nobody waits for dropped", e.text)
		}
		return
	}
	c.mu.Lock()
	batch := c.onlyBatch()
	for _, p := range batch {
		c.remove(p, canceled)
		c.end(p, err)
	}
	if len(batch) == 0 {
		c.pending.nameless = nameless{err, c.pending.sent}
	}
	c.mu.Unlock()
	if len(batch) == 0 {
		c.stats.dropped.Add(1)
		c.log.drop("reply that nobody waits for dropped", e.text)
	}
}

// failUnanswered fails the calls that the current message should have answered and has
// not, if no other message will. If the message has answered some calls of its request, the
// whole request was sent. Its notifications then end well, though the Conn may not have
// called Sent yet.
func (c *clientCodec) failUnanswered() {
	if c.in.missing != nil && c.in.answered != nil {
		if c.in.served {
			c.in.answered.Sent()
		}
		c.in.answered.Fail(c.in.missing) // not failAnswered: Retry may send them again
	}
	c.in.missing, c.in.answered = nil, nil
}

// onlyBatch returns the pending calls that were sent, if a Batch has sent all of them in one
// message, else nil. It is called with c.mu locked.
func (c *clientCodec) onlyBatch() (batch []*pendingCall) {
	var sent *Request
	for _, p := range c.pending.bySeq {
		switch message := p.message.Load(); {
		case message == nil || p.notification != nil: // not sent yet, or not to be answered
		case sent != nil && message != sent:
			return nil
		default:
			sent, batch = message, append(batch, p)
		}
	}
	return batch
}
