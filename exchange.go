package jsonrpc2

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// A serverCall is one running call or notification. It comes from a pool, and goes back by
// release. The reading goroutine fills it in; then it is the call's own, but for method and
// since, which the codec's mu protects.
type serverCall struct {
	exchange *exchange
	single   exchange    // of a message that is no batch
	id       []byte      // empty: a notification
	method   string      // "": net/rpc does not know it, or not yet
	since    time.Time   // when the watch first saw the call; zero: not yet
	err      *Error      // found before the method could run; nil: none
	cancel   func()      // ends the context of the arguments; nil if they have none
	onEnd    func(error) // what Begin has returned; nil for nothing
}

// An exchange is a request message and what is known of its one reply. The items of a batch
// share it. The codec's mu protects begun, left, answers and reserved. The reading goroutine
// sets expired, and then finishes the item.
type exchange struct {
	reply    func([]byte) error
	notRun   func()          // called in place of reply if nothing was begun; may be nil
	onBegun  func()          // Begun of a Delivery whose items are all notifications; else nil
	deadline time.Time       // zero: not known
	ctx      context.Context // nil: not known
	attempt  int             // 0: not known
	origin   Origin          // nil: nothing known
	batch    bool
	begun    bool   // some item was begun
	expired  bool   // some item was not begun, since nobody waits
	left     int    // items of a batch that are not finished
	answers  []byte // of a batch, so far

	reserved int // bytes for errors in place of the answers that are missing
}

// isGivenUp reports whether nobody waits for the answer any more.
func (x *exchange) isGivenUp() bool {
	return x.ctx != nil && x.ctx.Err() != nil ||
		!x.deadline.IsZero() && !time.Now().Before(x.deadline)
}

// standInSize is the most that an error in place of an answer takes, in bytes and without the
// id.
const standInSize = 160

// maxKeptID is how many bytes a spare serverCall keeps for the next id.
const maxKeptID = 256

// answerAll returns the answers to all calls of a message that can't be served because of
// err: one answer, if it is a batch too long to be kept. It returns nil if err is no *Error,
// which stands for no answer, and if there are no calls.
func answerAll(h *Header, err error) []byte {
	var failure *Error
	if !errors.As(err, &failure) || failure == nil {
		return nil
	}
	if h.isPartial() {
		return appendError(nil, jsonNull, failure)
	}
	var answers []byte
	for i := range h.items {
		if e := &h.items[i]; e.wantsAnswer() {
			answers = appendError(append(answers, ','), e.answerID(), failure)
		}
	}
	switch {
	case answers == nil:
		return nil
	case h.batch:
		answers[0] = '['
		return append(answers, ']')
	}
	return answers[1:]
}

// finish finishes an item, with its answer or with none, and counts it in end, unless that
// is nil.
func (c *serverCodec) finish(x *exchange, id, answer []byte, end *atomic.Int64) {
	if c.gather(x, id, answer) != nil && end != nil {
		end = &c.stats.errors
	}
	if end != nil { // before anybody learns of it
		end.Add(1)
	}
	c.settle(x, answer)
}

// gather puts the answer of an item with those of its batch. It returns the error that takes
// its place, nil for none. The item is not finished before settle.
func (c *serverCodec) gather(x *exchange, id, answer []byte) *Error {
	if !x.batch || answer == nil {
		return nil
	}
	c.mu.Lock()
	replaced := x.add(id, answer, c.opts.MaxMessageSize)
	c.mu.Unlock()
	if replaced != nil {
		c.log.drop("response can't be sent: those of its batch exceed the limit", answer)
	}
	return replaced
}

// settle finishes an item. The last of a message settles that: by its reply, or by notRun if
// it expired before anything in it had begun.
func (c *serverCodec) settle(x *exchange, answer []byte) {
	last := true
	if x.batch {
		c.mu.Lock()
		last = x.end()
		c.mu.Unlock()
		if last {
			answer = x.answers
		}
	}
	switch {
	case !last:
	case !x.expired || x.begun:
		c.reply(x.reply, answer)
	case x.notRun != nil:
		x.notRun()
	default:
		c.reply(x.reply, nil)
	}
}

// add adds an answer to those of a batch. If they would get too long, an error replaces this
// one, which add returns: enough is reserved for such an error from each item that is left.
// The codec's mu is locked.
func (x *exchange) add(id, answer []byte, limit int) (replaced *Error) {
	x.reserved -= len(id) + standInSize
	if len(answer) > len(id)+standInSize && len(x.answers)+len(answer)+len("[]")+x.reserved > limit {
		replaced = errorf(CodeInternal, "internal error: the batch's responses exceed the limit of %d bytes", limit)
		answer = appendError(nil, id, replaced)
	}
	separator := byte(',')
	if len(x.answers) == 0 {
		separator = '['
	}
	x.answers = append(append(x.answers, separator), answer...)
	return replaced
}

// end notes that an item of a batch is finished, and closes the array of the answers after the
// last. The codec's mu is locked.
func (x *exchange) end() (last bool) {
	x.left--
	if x.left == 0 && x.answers != nil {
		x.answers = append(x.answers, ']')
	}
	return x.left == 0
}

func (c *serverCodec) reply(reply func([]byte) error, body []byte) {
	if err := reply(body); err != nil {
		c.lost(body, err)
	}
}

// lost logs and counts an answer that can't be delivered, or a request that could not be
// given back. It is Settings.Lost.
func (c *serverCodec) lost(body []byte, why error) {
	c.stats.lostReplies.Add(1)
	c.log.drop("reply lost", body, slog.Any("error", why))
}

// release ends the context of a call, gives its struct back to the pool, and frees its place.
func (c *serverCodec) release(call *serverCall) {
	if call.cancel != nil {
		call.cancel()
	}
	if cap(call.id) > maxKeptID {
		call.id = nil
	}
	*call = serverCall{id: call.id[:0]}
	c.calls.Put(call)
	<-c.places
}
