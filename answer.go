package jsonrpc2

import (
	"errors"
	"fmt"
	"log/slog"
	"net/rpc"
)

var errManyItems = fmt.Errorf("batch exceeds the limit of %d items", maxBatchItems)

// unpack scans a message and makes its items the ones to look at.
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

// failAll fails the calls that are answered by a reply that can't be parsed.
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

// failNamed fails the pending calls whose ids are in body. It returns how many those
// are, and how many other ids there are of calls that had ended before.
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

// failAnswered fails the calls that the current message should have answered, and
// returns their number.
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
		c.end(p, err) // of a notification the Conn has not said that it was sent
	})
	return failed
}

// answer makes r the response that e is, and reports whether it is one.
func (c *clientCodec) answer(e *envelope, r *rpc.Response) bool {
	var p *pendingCall
	var ours bool
	if e.method == nil || e.result != nil || e.err != nil { // some servers repeat it
		p, ours = c.removeByID(e.id)
		c.in.served = c.in.served || p != nil || ours
	}
	switch {
	case p == nil && e.isNameless():
		if c.in.unnamed == nil {
			c.in.unnamed = e
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
// which calls those are. A server sends such an error for what it does not know as a
// request, for example a batch.
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
// not, if no other message will. Where it has answered others, what it answers was sent with
// its notifications, though the Conn may not have said so yet.
func (c *clientCodec) failUnanswered() {
	if c.in.missing != nil && c.in.answered != nil {
		if c.in.served {
			c.in.answered.Sent()
		}
		c.in.answered.Fail(c.in.missing) // a Conn around the Conn may send them again
	}
	c.in.missing, c.in.answered = nil, nil
}

// onlyBatch returns the pending calls that a Batch has sent, if one message had all of
// them, else nil.
// It is called with c.mu locked.
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
