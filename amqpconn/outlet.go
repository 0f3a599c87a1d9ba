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

// An outlet publishes requests of a client on one channel. One goroutine runs it.
type outlet struct {
	queue     string
	where     string // the queue is, for errors
	opts      *DialOptions
	state     *link.State
	requests  *link.Requests[request]
	calls     *calls
	outcomes  *outcomes
	channel   *publishChannel[request]
	publisher *publisher // of the channel
	receiver  *receiver
	seen      *inspector
	looks     *link.Asker // for looks at the queue
	published atomic.Int64
}

// run publishes requests until they are closed and all is sent, or there is no more
// time for that.
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
	if o.publisher.blockage() != nil { // until the requests time out
		return work
	}
	o.channel.open()
	session := o.channel.current()
	if _, ready := o.receiver.ready(); session == nil || !ready {
		return o.tryAgain(work, o.cause())
	}
	work, again = o.declared(o.admitted(o.served(work)))
	replyTo, ready := o.receiver.ready() // it may have gone while the queue was looked at
	if !ready {
		return append(again, o.tryAgain(work, o.cause())...)
	}
	again = append(again, o.publishTo(session, replyTo, work)...)
	if queue, _ := o.receiver.ready(); queue != replyTo { // lost while we wrote
		o.outcomes.replyQueueLost(amqp.ErrClosed)
	}
	return again
}

// publishTo publishes requests on a channel, to be answered to a reply queue, and
// returns those to try again.
func (o *outlet) publishTo(session *publishSession[request], replyTo string, work []request) (again []request) {
	session.sending.Lock()
	session.wire.hold()
	published := 0
	defer func() {
		_ = session.wire.release() // what fails then may have arrived: the calls wait
		session.sending.Unlock()
		session.check()
		o.seen.add(published)
	}()
	for i, r := range work {
		if session.isFull() { // until there is room
			return append(again, work[i:]...)
		}
		switch err := o.publishOne(session, replyTo, r); {
		case err == nil:
			published++
			o.requests.Done(r.Size())
		case isException(err): // for its own reply queue
			again = append(again, o.tryAgain([]request{r}, err)...)
		default:
			return append(again, o.tryAgain(work[i:], err)...)
		}
	}
	return again
}

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
	if isCode(cause, amqp.AccessRefused) { // and it stays so
		o.requests.FailUnsent(failure(), work...)
		return nil
	}
	return o.requests.Refused(work, failure)
}

// errNotLetIn is why there is no connection to a broker that has begun to answer.
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
	return errConnecting // it works again
}

// served fails the requests that nobody would take, as far as is known. Consumers may
// need as long as the client to reconnect.
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

// admitted fails the requests for which there is no room in the queue.
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

// declared creates the queue of requests that missed it. It fails those if it
// can't, and returns the others. Those to try again are for a broker that does not
// answer in time.
func (o *outlet) declared(work []request) (others, again []request) {
	if !slices.ContainsFunc(work, func(r request) bool { return r.missed }) {
		return work, nil
	}
	err, answered := ask(o.looks, func() error {
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
