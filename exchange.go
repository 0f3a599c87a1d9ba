package jsonrpc2

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// A serverCall is one running call or notification.
type serverCall struct {
	exchange *exchange
	single   exchange    // of a message that is no batch
	id       []byte      // empty: a notification
	method   string      // "": net/rpc does not know it, or not yet
	since    time.Time   // a look of the watch has seen it; zero: none has
	err      *Error      // found before the method could run
	cancel   func()      // ends the context of the arguments; nil if they have none
	onEnd    func(error) // what Begin has returned; nil for nothing
}

// An exchange is a request message and what is known of its one reply.
type exchange struct {
	reply    func([]byte) error
	notRun   func()          // called in place of reply if nothing was begun; may be nil
	onBegun  func()          // called when all items have begun; nil: not all are notifications
	deadline time.Time       // zero: not known
	ctx      context.Context // nil: not known
	attempt  int             // 0: not known
	origin   Origin          // nil: nothing known
	batch    bool
	begun    bool   // some item of a batch was
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

// standInSize is the length of an error in place of an answer, without its id.
const standInSize = 160

// maxKeptID is how many bytes of an id a spare serverCall holds on to.
const maxKeptID = 256

// answerAll returns what answers all calls of a message that can't be served,
// nil if they are not to be answered.
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
// is nil. The last item of a message sends the reply.
func (c *serverCodec) finish(x *exchange, id, answer []byte, end *atomic.Int64) {
	last := true
	if x.batch {
		var replaced bool
		c.mu.Lock()
		last, replaced = x.add(id, answer, c.opts.MaxMessageSize)
		c.mu.Unlock()
		if replaced {
			c.log.drop("response can't be sent: those of its batch exceed the limit", answer)
		}
		if replaced && end != nil {
			end = &c.stats.errors
		}
		if last {
			answer = x.answers
		}
	}
	if end != nil { // before anybody learns of it
		end.Add(1)
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

// add adds an answer to those of a batch, and closes the array after the last. If the
// answers would get too long, an error replaces this one. There is always room for such
// errors from the items that are left.
func (x *exchange) add(id, answer []byte, limit int) (last, replaced bool) {
	if answer != nil {
		x.reserved -= len(id) + standInSize
		replaced = len(answer) > len(id)+standInSize && len(x.answers)+len(answer)+len("[]")+x.reserved > limit
		if replaced {
			answer = appendError(nil, id, errorf(CodeInternal, "internal error: the batch's responses exceed the limit of %d bytes", limit))
		}
		separator := byte(',')
		if len(x.answers) == 0 {
			separator = '['
		}
		x.answers = append(append(x.answers, separator), answer...)
	}
	x.left--
	if x.left == 0 && x.answers != nil {
		x.answers = append(x.answers, ']')
	}
	return x.left == 0, replaced
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

// release ends the context of a call, keeps its struct for another, and frees its place.
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
