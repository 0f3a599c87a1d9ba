package amqpconn

import (
	"context"

	amqp "github.com/rabbitmq/amqp091-go"
)

// requeueWindow is how many requests a requeuer publishes before it waits for the broker to
// confirm them. So many may be in both queues if it is killed.
const requeueWindow = 256

// A requeuer publishes dead requests to their queue. It acknowledges them when the broker has
// confirmed that: until then they stay in the list.
type requeuer struct {
	ch      *amqp.Channel
	queue   string
	returns <-chan amqp.Return // has room for a window
	pending []requeued
	moved   int
	refusal error // why nothing more can be moved
}

// A requeued is a request that is published.
type requeued struct {
	dead         amqp.Delivery
	confirmation *amqp.DeferredConfirmation
}

func newRequeuer(ch *amqp.Channel, queue string) (*requeuer, error) {
	r := &requeuer{ch: ch, queue: queue, returns: ch.NotifyReturn(make(chan amqp.Return, requeueWindow))}
	return r, ch.Confirm(false)
}

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

// settle waits until the broker has confirmed what was published, and removes that from the
// list.
func (r *requeuer) settle(ctx context.Context) error {
	var confirmed []amqp.Delivery
	for _, p := range r.pending {
		ok, err := p.confirmation.WaitContext(ctx)
		switch {
		case err != nil:
			return err
		case ok:
			confirmed = append(confirmed, p.dead)
		case r.ch.IsClosed(): // which the library reports as a refusal, too
			return amqp.ErrClosed
		default:
			r.refusal = errRefused
		}
	}
	clear(r.pending)
	r.pending = r.pending[:0]
	select {
	case <-r.returns: // before the confirmations; of which request it does not say
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
