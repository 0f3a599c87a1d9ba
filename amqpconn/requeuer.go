package amqpconn

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"
)

// requeueWindow is how many requests a requeuer publishes before it waits for the broker to
// confirm them. If the process is killed then, up to so many requests are in both queues.
const requeueWindow = 256

// A requeuer publishes dead requests to their queue. It acknowledges a dead request when the
// broker has confirmed the new one: until then it stays in the list.
type requeuer struct {
	ch      *amqp.Channel
	queue   string
	returns <-chan amqp.Return // has room for a window
	pending []requeued         // published and not settled, a window at most
	moved   int                // how many requests have left the list
	refusal error              // why the queue takes no more of them
}

// A requeued is a dead request that is published, and the confirmation of the new one.
type requeued struct {
	dead         amqp.Delivery
	confirmation *amqp.DeferredConfirmation
}

func newRequeuer(ch *amqp.Channel, queue string) (*requeuer, error) {
	r := &requeuer{ch: ch, queue: queue, returns: ch.NotifyReturn(make(chan amqp.Return, requeueWindow))}
	return r, ch.Confirm(false)
}

// publish publishes a dead request, and settles when the window is full.
func (r *requeuer) publish(ctx context.Context, dead amqp.Delivery) error {
	confirmation, err := r.ch.PublishWithDeferredConfirmWithContext(ctx, "", r.queue, true, false, freshOf(&dead))
	if err != nil {
		return err
	}
	dead.Body = nil // it is on its way
	r.pending = append(r.pending, requeued{dead, confirmation})
	if len(r.pending) == requeueWindow {
		return r.settle(ctx)
	}
	return nil
}

// settle waits until the broker has confirmed what was published, and removes the confirmed
// requests from the list. If one came back, it removes none: a return does not say which.
func (r *requeuer) settle(ctx context.Context) error {
	var confirmed []amqp.Delivery
	for _, p := range r.pending {
		ok, err := p.confirmation.WaitContext(ctx)
		switch {
		case err != nil:
			return err
		case ok:
			confirmed = append(confirmed, p.dead)
		case r.ch.IsClosed(): // the library reports that as a refusal, too
			return amqp.ErrClosed
		default:
			r.refusal = errRefused
		}
	}
	clear(r.pending)
	r.pending = r.pending[:0]
	select {
	case <-r.returns: // all have come: a return comes before the confirm
		r.refusal = errReturned
		return nil
	default:
	}
	for _, dead := range confirmed {
		if err := dead.Ack(false); err != nil {
			return err
		}
		r.moved++
	}
	return nil
}
