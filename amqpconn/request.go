package amqpconn

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A request is on its way to the queue.
type request struct {
	*jsonrpc2.Request
	id     string    // correlates the answer
	answer bool      // one is due
	until  time.Time // tried for so long
	missed bool      // its queue was missing, and is to be created first

	session *publishing[request] // on which it was published
	number  int64                // of those on it
}

// isSingle reports whether it is no batch.
func (r *request) isSingle() bool { return len(r.Body) > 0 && r.Body[0] == '{' }

// isTracked reports whether it ends when the broker has it, or a part of it may.
func (r *request) isTracked() bool { return !r.answer || !r.isSingle() }

// Size implements link.Sendable.
func (r request) Size() int { return len(r.Body) }

// TriedUntil implements link.Sendable.
func (r request) TriedUntil() time.Time { return r.until }

func (c *ClientConn) send() {
	left := c.requests.Run(link.Writer[request]{
		Send:     c.publish,
		Kick:     c.publisher.kick,
		MaxPause: maxPause,
		Grace:    sendGrace,
	})
	closed := fmt.Errorf("%w: %s: closed before it could be sent: %w", jsonrpc2.ErrUnavailable, c.dialer.where(), c.cause())
	c.requests.FailUnsent(closed, c.requests.Wanted(left)...)
}

// publish publishes all requests, and returns those to try again.
func (c *ClientConn) publish(work []request) (again []request) {
	work = c.requests.Wanted(work)
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
		c.fail(work, fmt.Errorf("%w: %s has no consumer", jsonrpc2.ErrNoServer, c.dialer.where()))
		return nil
	}
	work, again = c.declared(c.admitted(work))
	replyTo, ready := c.receiver.ready() // it may have gone while the queue was looked at
	if !ready {
		return append(again, c.refused(work, c.cause())...)
	}
	again = append(again, c.publishTo(session, replyTo, work)...)
	if queue, _ := c.receiver.ready(); queue != replyTo { // lost while we wrote
		c.replyQueueLost(amqp.ErrClosed)
	}
	return again
}

// publishTo publishes requests on a channel, to be answered to a reply queue, and
// returns those to try again.
func (c *ClientConn) publishTo(session *publishing[request], replyTo string, work []request) (again []request) {
	session.sending.Lock()
	session.wire.hold()
	pause := checkPause
	defer func() {
		_ = session.wire.release() // what fails then may have arrived: the calls wait
		session.sending.Unlock()
		session.check(pause)
	}()
	for i, r := range work {
		switch err := c.publishOne(session, replyTo, r); {
		case err == nil:
			c.seen.published++
			c.requests.Done(r.Size())
			if !r.answer && !c.opts.Persistent { // its sender waits to hear of it
				pause = 0
			}
		case isException(err): // for its own reply queue
			again = append(again, c.refused([]request{r}, err)...)
		default:
			return append(again, c.refused(work[i:], err)...)
		}
	}
	return again
}

func (c *ClientConn) publishOne(session *publishing[request], replyTo string, r request) (err error) {
	r.session, r.number = session, session.messages.Load()+1
	if r.answer {
		if c.opts.ReplyPerCall {
			if err := c.receiver.expect(r.Context(), r.id); err != nil {
				return err
			}
			replyTo = r.id
		}
		c.calls.add(r)
	}
	msg := c.message(&r, replyTo)
	if c.opts.Persistent || r.isTracked() {
		c.untold.Add(1)
		if err = session.publishTracked(c.queue, msg, r); err != nil {
			c.untold.Done()
		}
	} else {
		err = session.publish(c.queue, msg)
	}
	if err != nil {
		c.calls.take(r.id)
		return err
	}
	c.published.Add(1)
	return nil
}

// message returns what is published of a request.
func (c *ClientConn) message(r *request, replyTo string) amqp.Publishing {
	msg := amqp.Publishing{
		ContentType:   "application/json",
		CorrelationId: r.id,
		MessageId:     r.id,
		Body:          r.Body,
		Expiration:    expiration(r.Deadline()),
	}
	if r.missed {
		msg.MessageId = link.NewName() // for the listener, to which it is another message
	}
	if c.opts.Persistent {
		msg.DeliveryMode = amqp.Persistent
	}
	if r.answer {
		msg.ReplyTo = replyTo
	}
	return msg
}

// maxExpiration is the longest that RabbitMQ takes, in milliseconds. It closes the
// channel for a longer one.
const maxExpiration = math.MaxUint32

// expiration is how long the broker keeps a request: in milliseconds, for as
// long as its caller waits. For ever if that is longer than can be said.
func expiration(deadline time.Time) string {
	if deadline.IsZero() {
		return ""
	}
	milliseconds := max(time.Until(deadline).Milliseconds(), 1)
	if milliseconds > maxExpiration {
		return ""
	}
	return strconv.FormatInt(milliseconds, 10)
}

// refused returns the requests to try again, and fails those that have waited for long
// enough.
func (c *ClientConn) refused(work []request, cause error) (again []request) {
	failure := func() error {
		return fmt.Errorf("%w: %s: no connection to the broker: %w", jsonrpc2.ErrUnavailable, c.dialer.where(), cause)
	}
	if isCode(cause, amqp.AccessRefused) { // and it stays so
		c.requests.FailUnsent(failure(), work...)
		return nil
	}
	patience := time.Duration(0)
	if c.isGreeted() {
		patience = greetedPatience
	}
	return c.requests.Refused(work, patience, failure)
}

// isGreeted reports whether the first connections are being made to a broker that
// has begun to answer. It may be about to say why not: RabbitMQ takes 3 s to
// refuse a password.
func (c *ClientConn) isGreeted() bool {
	return c.state.Cause() == nil && (c.publisher.isGreeted() || c.receiver.isGreeted())
}

// cause returns why requests can't be published.
func (c *ClientConn) cause() error {
	if err := c.impairment(); err != nil {
		return err
	}
	return errConnecting // it works again
}

// admitted fails the requests for which there is no room in the queue.
func (c *ClientConn) admitted(work []request) []request {
	if c.opts.MaxBacklog == 0 {
		return work
	}
	queue := c.seen.within(messagesFresh)
	if !queue.known {
		return work
	}
	waiting := queue.messages + c.seen.published
	n := min(len(work), max(c.opts.MaxBacklog-waiting, 0))
	return c.requests.Admitted(work, n, fmt.Errorf("%w: messages waiting in queue %q: %d", jsonrpc2.ErrOverloaded, c.queue, waiting+n))
}

// fail fails requests that have no server.
func (c *ClientConn) fail(work []request, err error) {
	c.noServer.Add(int64(len(work)))
	c.requests.Fail(err, work...)
}

// declared creates the queue of requests that missed it. It fails those if it
// can't, and returns the others. Those to try again are for a broker that does not
// answer in time.
func (c *ClientConn) declared(work []request) (others, again []request) {
	if !slices.ContainsFunc(work, func(r request) bool { return r.missed }) {
		return work, nil
	}
	err, answered := ask(c.looks, func() error {
		if s := c.receiver.current(); s != nil {
			return c.declare(s.conn)
		}
		return amqp.ErrClosed
	})
	if answered && err == nil {
		return work, nil
	}
	var missed []request
	for _, r := range work {
		if r.missed {
			missed = append(missed, r)
		} else {
			others = append(others, r)
		}
	}
	if !answered {
		return others, c.refused(missed, errNoAnswer)
	}
	c.fail(missed, fmt.Errorf("%w: %s: %w", jsonrpc2.ErrNoServer, c.dialer.where(), err))
	return others, nil
}
