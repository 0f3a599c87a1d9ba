package amqpconn

import (
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
)

// returned sees to a request whose queue does not exist: it certainly did not run.
// With Declare set the queue was deleted meanwhile, or expired: then the request
// is published once more, to a new one.
func (c *ClientConn) returned(back amqp.Return, item *request) {
	r, ok := c.calls.take(back.CorrelationId)
	switch {
	case ok:
	case item != nil:
		r = *item
	default: // its caller gave up long ago
		return
	}
	if c.opts.Declare != nil && !r.missed {
		r.missed, r.until = true, time.Now().Add(sendPatience)
		if c.requests.Put(r, r.Size()) == nil {
			return
		}
	}
	c.noServer.Add(1)
	r.Fail(fmt.Errorf("%w: %s: %w", jsonrpc2.ErrNoServer, c.dialer.where(), errUnroutable))
}

// settle sees to tracked requests. For those that came back see returned. Calls of
// which nothing is known may have arrived: they wait.
func (c *ClientConn) settle(fates []fate[request]) {
	for _, f := range fates {
		r := f.item
		switch {
		case f.err == nil:
			if c.opts.Persistent {
				c.confirmed.Add(1)
			}
			r.Sent()
		case errors.Is(f.err, errNotTaken):
			c.calls.take(r.id)
			c.requests.Unsent.Add(1)
			r.Fail(fmt.Errorf("%w: %s: the broker refused the request", jsonrpc2.ErrUnavailable, c.dialer.where()))
		case errors.Is(f.err, errUnknown) && !r.answer:
			c.lose(r, f.err)
		}
	}
	c.untold.Add(-len(fates))
}

// lose fails a notification whose channel has ended.
func (c *ClientConn) lose(r request, err error) {
	sentinel, count := jsonrpc2.ErrUnconfirmed, &c.unconfirmed
	if r.session.tookNothing(err) {
		sentinel, count = jsonrpc2.ErrUnavailable, &c.requests.Unsent
	}
	count.Add(1)
	r.Fail(fmt.Errorf("%w: %s: %w", sentinel, c.dialer.where(), err))
}

// replyQueueLost fails the calls whose answers would have come to it.
func (c *ClientConn) replyQueueLost(err error) {
	for _, r := range c.calls.takeAll() {
		c.lost.Add(1)
		r.Fail(fmt.Errorf("%w: %s: the reply queue is gone: %w", jsonrpc2.ErrReplyLost, c.dialer.where(), err))
	}
}

// channelClosed fails the calls that the broker dropped when it closed a channel
// for an error. Of other errors than a missing right, as for a message over the
// broker's limit, those before the one that is to blame may have been taken.
func (c *ClientConn) channelClosed(session *publishing[request], err error) {
	if !isException(err) {
		return
	}
	sentinel := jsonrpc2.ErrReplyLost
	if session.tookNothing(err) {
		sentinel = jsonrpc2.ErrUnavailable
	}
	for _, r := range c.calls.takeBehind(session, session.checks.taken.Load()) {
		c.requests.Unsent.Add(1)
		r.Fail(fmt.Errorf("%w: %s: the broker closed the channel: %w", sentinel, c.dialer.where(), err))
	}
}
