package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

func (c *caller) send() {
	c.out.Run(link.Writer[request]{
		Send:     c.publish,
		Kick:     c.publisher.kick,
		MaxPause: maxPause,
		Grace:    sendGrace,
	})
	close(c.closed)
}

// publish publishes all requests, and returns those to try again.
func (c *caller) publish(work []request) (again []request) {
	work = c.wanted(work)
	session, blocked := c.publisher.current()
	_, ready := c.receiver.ready()
	switch {
	case len(work) == 0:
		return nil
	case blocked: // until the calls time out
		return work
	case session == nil || !ready:
		return c.refused(work, c.cause())
	case c.opts.RequireConsumer && c.seen.within(consumersFresh).isUnserved():
		c.fail(work, fmt.Errorf("%w: %s has no consumer", jsonrpc2.ErrNoServer, c.where()))
		return nil
	}
	work = c.declared(c.admitted(work))
	replyTo, ready := c.receiver.ready() // it may have gone while the queue was looked at
	if !ready {
		return c.refused(work, c.cause())
	}
	again = c.publishTo(session, replyTo, work)
	if queue, _ := c.receiver.ready(); queue != replyTo { // lost while we wrote
		c.replyQueueLost(amqp.ErrClosed)
	}
	return again
}

// publishTo publishes requests on a channel, to be answered to a reply queue, and
// returns those to try again.
func (c *caller) publishTo(session *publishing[string], replyTo string, work []request) (again []request) {
	session.sending.Lock()
	session.wire.hold()
	defer func() {
		_ = session.wire.release() // what fails then may have arrived: the calls wait
		session.sending.Unlock()
		session.check()
	}()
	for i, r := range work {
		switch err := c.publishOne(session, replyTo, r); {
		case err == nil:
			c.seen.published++
			c.out.Done(len(r.body))
		case isException(err): // for its own reply queue
			again = append(again, c.refused([]request{r}, err)...)
		default:
			return append(again, c.refused(work[i:], err)...)
		}
	}
	return again
}

func (c *caller) publishOne(session *publishing[string], replyTo string, r request) error {
	msg := amqp.Publishing{
		ContentType:   "application/json",
		CorrelationId: r.id,
		MessageId:     r.id,
		Body:          r.body,
		Expiration:    expiration(r.ctx),
	}
	if r.expiration != "" {
		msg.Expiration = r.expiration
	}
	if r.missed {
		msg.MessageId = link.NewName() // for returned to see
	}
	if c.opts.Persistent {
		msg.DeliveryMode = amqp.Persistent
	}
	if r.answer {
		msg.ReplyTo = replyTo
		if c.opts.ReplyPerCall {
			if err := c.receiver.expect(r.ctx, r.id); err != nil {
				return err
			}
			msg.ReplyTo = r.id
		}
		r.session, r.number = session, session.messages.Load()+1
		c.calls.add(r)
	}
	var err error
	if c.opts.Persistent {
		err = session.publishConfirmed(c.queue, msg, r.id)
	} else {
		err = session.publish(c.queue, msg)
	}
	if err != nil {
		c.calls.take(r.id)
		return err
	}
	c.requests.Add(1)
	return nil
}

// maxExpiration is the longest that RabbitMQ takes, in milliseconds. It closes the
// channel for a longer one.
const maxExpiration = math.MaxUint32

// expiration is how long the broker keeps a request: in milliseconds, for as
// long as its caller waits. For ever if that is longer than can be said.
func expiration(ctx context.Context) string {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ""
	}
	milliseconds := max(time.Until(deadline).Milliseconds(), 1)
	if milliseconds > maxExpiration {
		return ""
	}
	return strconv.FormatInt(milliseconds, 10)
}

// wanted drops the requests whose callers have given up.
func (c *caller) wanted(work []request) []request {
	wanted := work[:0]
	for _, r := range work {
		if r.ctx.Err() == nil {
			wanted = append(wanted, r)
			continue
		}
		c.expired.Add(1)
		c.out.Done(len(r.body))
	}
	return wanted
}

// refused fails the requests that have waited for long enough, and returns the
// others.
func (c *caller) refused(work []request, cause error) (again []request) {
	now := time.Now()
	patience := time.Duration(0)
	if c.isGreeted() {
		patience = greetedPatience
	}
	hopeless := isCode(cause, amqp.AccessRefused)
	again = work[:0]
	var failed []request
	for _, r := range work {
		if !hopeless && now.Before(r.until.Add(patience)) {
			again = append(again, r)
		} else {
			failed = append(failed, r)
		}
	}
	c.unsent.Add(int64(len(failed)))
	c.failAll(failed, fmt.Errorf("%w: %s: no connection to the broker: %w", jsonrpc2.ErrUnavailable, c.where(), cause))
	return again
}

// isGreeted reports whether the first connections are being made to a broker that
// has begun to answer. It may be about to say why not: RabbitMQ takes 3 s to
// refuse a password.
func (c *caller) isGreeted() bool {
	return c.state.Cause() == nil && (c.publisher.isGreeted() || c.receiver.isGreeted())
}

// cause returns why requests can't be published.
func (c *caller) cause() error {
	if err := c.state.Cause(); err != nil {
		return err
	}
	return errConnecting
}

var errConnecting = errors.New("still connecting")

// where says which queue it is, for errors.
func (c *caller) where() string {
	return fmt.Sprintf("queue %q at %s", c.queue, c.dialer.addresses())
}

// admitted fails the requests for which there is no room in the queue.
func (c *caller) admitted(work []request) []request {
	if c.opts.MaxBacklog == 0 {
		return work
	}
	queue := c.seen.within(messagesFresh)
	if !queue.known {
		return work
	}
	waiting := queue.messages + c.seen.published
	n := min(len(work), max(c.opts.MaxBacklog-waiting, 0))
	c.overloaded.Add(int64(len(work) - n))
	c.failAll(work[n:], fmt.Errorf("%w: messages waiting in queue %q: %d", jsonrpc2.ErrOverloaded, c.queue, waiting+n))
	return work[:n]
}

// fail fails requests that have no server.
func (c *caller) fail(work []request, err error) {
	c.noServer.Add(int64(len(work)))
	c.failAll(work, err)
}

func (c *caller) failAll(work []request, err error) {
	for _, r := range work {
		c.out.Done(len(r.body))
		c.notes.Add(r.body, err)
	}
}

// returned sees to a request whose queue does not exist: it certainly did not run.
// With Declare set the queue was deleted meanwhile, or expired: then the request
// is published once more, to a new one.
func (c *caller) returned(r amqp.Return) {
	call, isCall := c.calls.take(r.CorrelationId)
	if c.opts.Declare != nil && r.MessageId == r.CorrelationId { // the first time
		if !isCall {
			call = request{ctx: context.Background(), id: r.CorrelationId, body: r.Body, expiration: r.Expiration}
		}
		call.missed, call.until = true, time.Now().Add(sendPatience)
		if c.out.Put(call, len(call.body)) == nil {
			return
		}
	}
	c.noServer.Add(1)
	c.notes.Add(r.Body, fmt.Errorf("%w: %s: %s", jsonrpc2.ErrNoServer, c.where(), r.ReplyText))
}

// declared creates the queue of requests that missed it. It fails those if it
// can't, and returns the others.
func (c *caller) declared(work []request) []request {
	if !slices.ContainsFunc(work, func(r request) bool { return r.missed }) {
		return work
	}
	err, answered := ask(c.looks, func() error {
		if s := c.receiver.current(); s != nil {
			return c.declare(s.conn)
		}
		return amqp.ErrClosed
	})
	if !answered {
		err = errNoAnswer
	}
	if err == nil {
		return work
	}
	var missed, others []request
	for _, r := range work {
		if r.missed {
			missed = append(missed, r)
		} else {
			others = append(others, r)
		}
	}
	c.fail(missed, fmt.Errorf("%w: %s: %w", jsonrpc2.ErrNoServer, c.where(), err))
	return others
}

// settle notes what became of persistent requests. Those of which nothing is
// known may have arrived: their calls wait.
func (c *caller) settle(fates []fate[string]) {
	for _, f := range fates {
		switch {
		case f.err == nil:
			c.confirmed.Add(1)
		case errors.Is(f.err, errNotTaken):
			r, _ := c.calls.take(f.item) // a notification is not there, and logged without its text
			c.unsent.Add(1)
			c.notes.Add(r.body, fmt.Errorf("%w: %s: the broker refused the request", jsonrpc2.ErrUnavailable, c.where()))
		}
	}
}

// replyQueueLost fails the calls whose answers would have come to it.
func (c *caller) replyQueueLost(err error) {
	for _, r := range c.calls.takeAll() {
		c.lost.Add(1)
		c.notes.Add(r.body, fmt.Errorf("%w: %s: the reply queue is gone: %w", jsonrpc2.ErrReplyLost, c.where(), err))
	}
}

// channelClosed fails the calls that the broker dropped when it closed a channel
// for an error. Who has no right to publish had none for the first of them either;
// of other errors, as for a message over the broker's limit, those before the one
// that is to blame may have been taken.
func (c *caller) channelClosed(session *publishing[string], err error) {
	if !isException(err) {
		return
	}
	sentinel := jsonrpc2.ErrReplyLost
	taken := session.taken.Load()
	if taken == 0 && isCode(err, amqp.AccessRefused) {
		sentinel = jsonrpc2.ErrUnavailable
	}
	for _, r := range c.calls.takeBehind(session, taken) {
		c.unsent.Add(1)
		c.notes.Add(r.body, fmt.Errorf("%w: %s: the broker closed the channel: %w", sentinel, c.where(), err))
	}
}
