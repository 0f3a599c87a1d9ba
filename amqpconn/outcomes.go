package amqpconn

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
)

// outcomes end requests when the broker confirms, returns or refuses them, and when their
// channel or the reply queue is lost. Answers end calls elsewhere: see ClientConn.reply.
type outcomes struct {
	where string // names the queue and its brokers, in errors
	opts  *DialOptions
	calls *calls

	unreported sync.WaitGroup // the tracked requests that report has not seen yet

	confirmed, unconfirmed, noServer, refused, lost atomic.Int64
}

// returned handles a request that came back because its queue does not exist: it certainly
// did not run. With Declare set the queue was there before, and was deleted or has expired.
// The request is then put into its outbox once more, and its outlet creates the queue.
func (o *outcomes) returned(back amqp.Return, item *request) {
	r, ok := o.calls.remove(back.CorrelationId)
	switch {
	case ok:
	case item != nil: // a notification, or a call that has ended
		r = *item
	default: // a call that has ended: nobody waits for it
		return
	}
	if o.opts.Declare != nil && !r.missed {
		r.missed, r.until = true, time.Now().Add(sendPatience)
		if r.outbox.Put(r, r.Size()) == nil {
			return
		}
	}
	o.noServer.Add(1)
	r.Fail(fmt.Errorf("%w: %s: %w; start a server, which creates it, or set Declare", jsonrpc2.ErrNoServer, o.where, errReturned))
}

// report handles the fates of requests on a channel in confirm mode. The method returned
// has handled those that came back.
func (o *outcomes) report(fates []fate[request]) {
	for _, f := range fates {
		r := f.item
		switch {
		case f.err == nil:
			o.confirmed.Add(1)
			r.Sent()
		case errors.Is(f.err, errRefused):
			o.calls.remove(r.id)
			o.refused.Add(1)
			r.Fail(fmt.Errorf("%w: %s: the broker refused the request, as it does if the queue is full; send it again later", jsonrpc2.ErrOverloaded, o.where))
		case errors.Is(f.err, errUnconfirmed):
			o.failUnconfirmed(r, f.err)
		}
	}
	o.unreported.Add(-len(fates))
}

// failUnconfirmed fails the notifications in a request whose channel has ended. The calls
// in the request may have arrived: they wait for their answers, unless channelClosed fails
// them.
func (o *outcomes) failUnconfirmed(r request, err error) {
	switch {
	case r.isCall() || r.wantsAnswer && isException(err):
	case r.session.nothingArrived(err):
		r.outbox.Unsent.Add(1)
		r.Fail(fmt.Errorf("%w: %s: %w", jsonrpc2.ErrUnavailable, o.where, err))
	default:
		o.unconfirmed.Add(1)
		r.Fail(fmt.Errorf("%w: %s: %w; if it is sent again, it may run twice", jsonrpc2.ErrUnconfirmed, o.where, err))
	}
}

// replyQueueLost fails all calls: their answers would have come to the reply queue that is
// lost.
func (o *outcomes) replyQueueLost(err error) {
	for _, r := range o.calls.removeAll() {
		o.lost.Add(1)
		r.Fail(fmt.Errorf("%w: %s: the reply queue is gone: %w", jsonrpc2.ErrReplyLost, o.where, err))
	}
}

// channelClosed fails the calls that the broker may have dropped when it closed a channel
// for an error: all that are not known to have arrived. If a right is missing, none of them
// arrived. If a message was over the broker's size limit, those before it may have arrived.
func (o *outcomes) channelClosed(session *publishSession[request], err error) {
	if !isException(err) {
		return
	}
	sentinel := jsonrpc2.ErrReplyLost
	if session.nothingArrived(err) {
		sentinel = jsonrpc2.ErrUnavailable
	}
	for _, r := range o.calls.removeBehind(session, session.arrived.Load()) {
		r.outbox.Unsent.Add(1)
		r.Fail(fmt.Errorf("%w: %s: the broker closed the channel: %w", sentinel, o.where, err))
	}
}
