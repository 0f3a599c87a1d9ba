package amqpconn

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// outcomes end requests by what the broker says of them.
type outcomes struct {
	where    string // the queue is, for errors
	opts     *DialOptions
	requests *link.Requests[request]
	calls    *calls

	unreported sync.WaitGroup // the tracked requests whose fate is not reported

	confirmed, unconfirmed, noServer, lost atomic.Int64
}

// returned sees to a request whose queue does not exist: it certainly did not run.
// With Declare set the queue was deleted meanwhile, or expired: then the request
// is published once more, to a new one.
func (o *outcomes) returned(back amqp.Return, item *request) {
	r, ok := o.calls.remove(back.CorrelationId)
	switch {
	case ok:
	case item != nil:
		r = *item
	default: // its caller gave up long ago
		return
	}
	if o.opts.Declare != nil && !r.missed {
		r.missed, r.until = true, time.Now().Add(sendPatience)
		if o.requests.Put(r, r.Size()) == nil {
			return
		}
	}
	o.noServer.Add(1)
	r.Fail(fmt.Errorf("%w: %s: %w", jsonrpc2.ErrNoServer, o.where, errReturned))
}

// report sees to tracked requests. For those that came back see returned. Calls of
// which nothing is known may have arrived: they wait.
func (o *outcomes) report(fates []fate[request]) {
	for _, f := range fates {
		r := f.item
		switch {
		case f.err == nil:
			if o.opts.Persistent {
				o.confirmed.Add(1)
			}
			r.Sent()
		case errors.Is(f.err, errRefused):
			o.calls.remove(r.id)
			o.requests.Unsent.Add(1)
			r.Fail(fmt.Errorf("%w: %s: the broker refused the request", jsonrpc2.ErrUnavailable, o.where))
		case errors.Is(f.err, errUnconfirmed) && !r.wantsAnswer:
			o.failUnconfirmed(r, f.err)
		}
	}
	o.unreported.Add(-len(fates))
}

// failUnconfirmed fails a notification whose channel has ended.
func (o *outcomes) failUnconfirmed(r request, err error) {
	sentinel, count := jsonrpc2.ErrUnconfirmed, &o.unconfirmed
	if r.session.nothingArrived(err) {
		sentinel, count = jsonrpc2.ErrUnavailable, &o.requests.Unsent
	}
	count.Add(1)
	r.Fail(fmt.Errorf("%w: %s: %w", sentinel, o.where, err))
}

// replyQueueLost fails the calls whose answers would have come to it.
func (o *outcomes) replyQueueLost(err error) {
	for _, r := range o.calls.removeAll() {
		o.lost.Add(1)
		r.Fail(fmt.Errorf("%w: %s: the reply queue is gone: %w", jsonrpc2.ErrReplyLost, o.where, err))
	}
}

// channelClosed fails the calls that the broker dropped when it closed a channel
// for an error. Of other errors than a missing right, as for a message over the
// broker's limit, those before the one that is to blame may have arrived.
func (o *outcomes) channelClosed(session *publishSession[request], err error) {
	if !isException(err) {
		return
	}
	sentinel := jsonrpc2.ErrReplyLost
	if session.nothingArrived(err) {
		sentinel = jsonrpc2.ErrUnavailable
	}
	for _, r := range o.calls.removeBehind(session, session.checks.arrived.Load()) {
		o.requests.Unsent.Add(1)
		r.Fail(fmt.Errorf("%w: %s: the broker closed the channel: %w", sentinel, o.where, err))
	}
}
