package amqpconn

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// An outlet publishes requests of a client on one channel. Only its own goroutine calls its
// methods, except for impairment, which ClientConn.Err calls.
type outlet struct {
	queue     string
	where     string // names the queue and its brokers, in errors
	opts      *DialOptions
	state     *link.State
	requests  *link.Requests[request]
	calls     *calls
	outcomes  *outcomes
	channel   *publishChannel[request]
	publisher *publisher // which has the channel
	receiver  *receiver
	seen      *inspector   // what RequireServer and MaxBacklog know of the queue
	looks     *link.Asker  // runs the creation of the queue
	published atomic.Int64 // messages
}

// run publishes requests until Close. It then tries for sendGrace to publish the last ones,
// and fails those that are left.
func (o *outlet) run() {
	left := o.requests.Run(link.Writer[request]{
		Send:     o.publish,
		Kick:     o.channel.kick(),
		MaxPause: maxPause,
		Grace:    sendGrace,
	})
	closed := fmt.Errorf("%w: %s: closed before it could be sent: %w", jsonrpc2.ErrUnavailable, o.where, o.cause())
	o.requests.FailUnsent(closed, o.requests.Wanted(left)...)
}

// publish publishes all requests, and returns those to try again.
func (o *outlet) publish(work []request) (again []request) {
	work = o.requests.Wanted(work)
	if len(work) == 0 {
		return nil
	}
	if o.publisher.blockage() != nil { // they wait until their callers give up
		return work
	}
	o.channel.open()
	session := o.channel.current()
	if _, ready := o.receiver.ready(); session == nil || !ready {
		return o.tryAgain(work, o.cause())
	}
	work, again = o.declared(o.admitted(o.served(work)))
	replyTo, ready := o.receiver.ready() // again: those looks may have taken a while
	if !ready {
		return append(again, o.tryAgain(work, o.cause())...)
	}
	again = append(again, o.publishTo(session, replyTo, work)...)
	// If the reply queue was lost meanwhile, the receiver has failed the calls that it found.
	// It may not have found the last ones.
	if queue, _ := o.receiver.ready(); queue != replyTo {
		o.outcomes.replyQueueLost(amqp.ErrClosed)
	}
	return again
}

// publishTo publishes requests on a channel, in one write, with the reply queue for their
// answers. It returns those to try again.
func (o *outlet) publishTo(session *publishSession[request], replyTo string, work []request) (again []request) {
	session.sending.Lock()
	session.wire.hold()
	published := 0
	defer func() {
		_ = session.wire.release() // after an error they may have arrived: the calls wait
		session.sending.Unlock()
		session.check()
		o.seen.add(published)
	}()
	for i, r := range work {
		if session.isFull() { // the listener wakes the outlet when there is room
			return append(again, work[i:]...)
		}
		switch err := o.publishOne(session, replyTo, r); {
		case err == nil:
			published++
			o.requests.Done(r.Size())
		case isException(err): // with ReplyPerCall, about its own reply queue
			again = append(again, o.tryAgain([]request{r}, err)...)
		default:
			return append(again, o.tryAgain(work[i:], err)...)
		}
	}
	return again
}

// publishOne publishes a request. Before that it adds a call to calls, and counts a tracked
// request as unreported: the answer, or the confirm, may come at once.
func (o *outlet) publishOne(session *publishSession[request], replyTo string, r request) (err error) {
	r.outbox, r.session, r.number = o.requests, session, session.published.Load()+1
	if r.wantsAnswer {
		if o.opts.ReplyPerCall {
			if err := o.receiver.expect(r.Context(), r.id); err != nil {
				return err
			}
			replyTo = r.id
		}
		o.calls.add(r)
	}
	if session.confirms {
		o.outcomes.unreported.Add(1)
	}
	if err = session.publish(o.queue, r.message(replyTo, o.opts.Persistent), r); err != nil {
		if session.confirms {
			o.outcomes.unreported.Done()
		}
		o.calls.remove(r.id)
		return err
	}
	o.published.Add(1)
	return nil
}

// tryAgain returns the requests to try again, and fails those that have waited for long
// enough.
func (o *outlet) tryAgain(work []request, cause error) (again []request) {
	failure := func() error {
		return fmt.Errorf("%w: %s: no connection to the broker: %w", jsonrpc2.ErrUnavailable, o.where, cause)
	}
	if isCode(cause, amqp.AccessRefused) { // another try would be refused, too
		o.requests.FailUnsent(failure(), work...)
		return nil
	}
	return o.requests.Refused(work, failure)
}

// errNotLetIn says why there is no connection to a broker that has begun to answer.
var errNotLetIn = errors.New("still connecting: RabbitMQ has answered and not let us in yet, as it does for 3 s before it refuses a user name or a password")

// impairment returns what keeps requests from being published, or answers from
// coming, nil if nothing does.
func (o *outlet) impairment() error {
	if err := o.state.Cause(); err != nil {
		return err
	}
	if err := o.publisher.blockage(); err != nil {
		return err
	}
	_, ready := o.receiver.ready()
	switch {
	case ready && o.channel.current() != nil:
		return nil
	case o.publisher.isGreeted() || o.receiver.isGreeted():
		return errNotLetIn
	}
	return errConnecting
}

// cause returns why requests can't be published.
func (o *outlet) cause() error {
	if err := o.impairment(); err != nil {
		return err
	}
	return errConnecting // what was wrong has ended meanwhile
}

// served returns the requests that somebody will take. It fails all if the queue is known to
// have no consumer, and none for a while after a reconnect: the servers may need longer.
func (o *outlet) served(work []request) []request {
	if !o.opts.RequireServer || o.publisher.reconnected.IsWithin(reconnectPatience) || o.receiver.reconnected.IsWithin(reconnectPatience) {
		return work
	}
	queue := o.seen.within(consumersFresh)
	if !queue.isUnserved() {
		return work
	}
	o.failUnserved(work, fmt.Errorf("%w: %s: %w; start a server, or clear RequireServer to let requests wait for one",
		jsonrpc2.ErrNoServer, o.where, queue.unserved()))
	return nil
}

// admitted returns the requests for which there is room in the queue, by MaxBacklog, and
// fails the others. If it is not known how many wait, all are admitted.
func (o *outlet) admitted(work []request) []request {
	if o.opts.MaxBacklog == 0 {
		return work
	}
	queue := o.seen.within(messagesFresh)
	if queue.err != nil {
		return work
	}
	n := min(len(work), max(o.opts.MaxBacklog-queue.messages, 0))
	return o.requests.Admitted(work, n, fmt.Errorf("%w: messages waiting in queue %q: %d", jsonrpc2.ErrOverloaded, o.queue, queue.messages+n))
}

// failUnserved fails requests that have no server.
func (o *outlet) failUnserved(work []request, err error) {
	o.outcomes.noServer.Add(int64(len(work)))
	o.requests.Fail(err, work...)
}

// declared creates the queue if requests have missed it, and returns the requests to publish.
// If the queue can't be created, the requests that missed it fail. If the broker does not
// answer in time, these are to be tried again.
func (o *outlet) declared(work []request) (others, again []request) {
	if !slices.ContainsFunc(work, func(r request) bool { return r.missed }) {
		return work, nil
	}
	err, answered := ask(o.looks, lookTime, func() error {
		if s := o.receiver.current(); s != nil {
			return o.opts.Declare.ensure(s.conn, o.queue)
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
		return others, o.tryAgain(missed, errNoAnswer)
	}
	o.failUnserved(missed, fmt.Errorf("%w: %s: %w", jsonrpc2.ErrNoServer, o.where, err))
	return others, nil
}
