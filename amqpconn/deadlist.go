package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
)

// DeadListOptions are the options of NewDeadList. The zero value is useful, and so is a
// nil pointer to it.
type DeadListOptions struct {
	// URLs are the other nodes of a cluster. They are tried if the first node can't be
	// reached.
	URLs []string

	// Config configures the connections: TLS, SASL, vhost, heartbeat (10 s if 0),
	// properties. Its Recovery is not used. The end of a ctx does not wait for its Dial: if
	// that returns a connection later, the connection is closed.
	Config amqp.Config
}

// A DeadList is the jsonrpc2.DeadList of a queue that was created with Queue.DeadLetter: see
// "Dead requests" in the package's documentation. For a queue without DeadLetter its errors
// match jsonrpc2.ErrNoDeadList. Any number of goroutines may use a DeadList.
//
// Each call of a method makes a connection of its own. List, Requeue and Delete hold the
// requests that they look at until they return. So these three wait for one another, also in
// other processes, for 15 s at most. Len does not count what they hold. When they return, or
// their process is killed, the requests that are left are in their old place again.
//
// RabbitMQ hands out the oldest request first. So List, Requeue and Delete go through the list
// from its oldest request, through 20,000 at most: 10,000 take one or two seconds. Remove
// several requests by one call.
//
// The Handle of a request is a hash of its body, message id, correlation id, reply queue, and
// of when and why it was given up.
type DeadList struct {
	dialer *dialer
	queue  string
	dead   string // the queue of its dead requests

	patience time.Duration // how long a look waits for another one
}

var _ jsonrpc2.DeadList = (*DeadList)(nil)

// NewDeadList returns the DeadList of a queue. url is as in Dial. NewDeadList does not
// connect: its error is about the URLs and the queue's name.
func NewDeadList(url, queue string, opts *DeadListOptions) (*DeadList, error) {
	if opts == nil {
		opts = &DeadListOptions{}
	}
	d, err := newDialer(url, opts.URLs, opts.Config, queue, "dead list")
	if err != nil {
		return nil, err
	}
	if len(queue) > maxDeadName {
		return nil, fmt.Errorf("amqpconn: queue %q: its name is longer than %d bytes", queue, maxDeadName)
	}
	return &DeadList{dialer: d, queue: queue, dead: queue + deadSuffix, patience: lookPatience}, nil
}

// Len implements jsonrpc2.DeadList. It costs RabbitMQ the same however long the list is.
func (d *DeadList) Len(ctx context.Context) (n int, err error) {
	err = d.connected(ctx, "length", func(_ context.Context, conn *amqp.Connection) error {
		return onChannel(conn, func(ch *amqp.Channel) error {
			q, err := ch.QueueDeclarePassive(d.dead, false, false, false, false, nil)
			n = q.Messages
			return err
		})
	})
	return n, err
}

// List implements jsonrpc2.DeadList.
func (d *DeadList) List(ctx context.Context, n int) (dead []jsonrpc2.DeadRequest, err error) {
	if n == 0 {
		return nil, nil
	}
	err = d.look(ctx, "list", func(l *deadLook) error {
		for m, err := range l.messages() {
			if err != nil {
				return err
			}
			dead = append(dead, deadRequestOf(&m, d.queue))
			if n > 0 && len(dead) > n {
				clear(dead[:1])
				dead = dead[1:]
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.Reverse(dead)
	return dead, nil
}

// Requeue implements jsonrpc2.DeadList. It publishes a request to the queue, as persistent as it
// was, and removes it from the list when the broker has confirmed that. The request keeps its
// reply queue: a caller that still waits gets the answer; nobody else does.
func (d *DeadList) Requeue(ctx context.Context, dead ...jsonrpc2.DeadRequest) (moved int, err error) {
	var r *requeuer
	err = d.look(ctx, "requeue", func(l *deadLook) (err error) {
		if r, err = newRequeuer(l.ch, d.queue); err != nil {
			return err
		}
		for m, err := range l.these(dead) {
			if err == nil {
				err = r.publish(l.ctx, m)
			}
			if err != nil || r.refusal != nil {
				return err
			}
		}
		return r.settle(l.ctx)
	})
	switch {
	case err != nil:
		return 0, err
	case r.refusal != nil:
		return r.moved, d.failed("requeue", r.refusal)
	}
	return r.moved, nil
}

// Delete implements jsonrpc2.DeadList.
func (d *DeadList) Delete(ctx context.Context, dead ...jsonrpc2.DeadRequest) (removed int, err error) {
	err = d.look(ctx, "delete", func(l *deadLook) error {
		for m, err := range l.these(dead) {
			if err == nil {
				err = m.Ack(false)
			}
			if err != nil {
				return err
			}
			removed++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return removed, nil
}

// connected calls f with a connection. The end of ctx ends the connection, and so f.
func (d *DeadList) connected(ctx context.Context, doing string, f func(context.Context, *amqp.Connection) error) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	conn, err := d.dialer.dialFirst(ctx)
	if err == nil {
		err = d.use(ctx, giveUp, conn, f)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	}
	return d.failed(doing, err)
}

// failed adds to an error what was done, and on which queue.
func (d *DeadList) failed(doing string, err error) error {
	return fmt.Errorf("amqpconn: %s of the dead requests of %s: %w", doing, d.dialer.where(), err)
}

// use calls f with a connection, and closes it. If the broker blocks the connection because of
// an alarm, use calls giveUp, which ends ctx: Requeue would wait for a confirm.
func (d *DeadList) use(ctx context.Context, giveUp func(error), conn *amqp.Connection, f func(context.Context, *amqp.Connection) error) error {
	closed := make(chan struct{})
	unwatch := context.AfterFunc(ctx, func() {
		defer close(closed)
		closeSoon(conn)
	})
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	var watching sync.WaitGroup
	watching.Go(func() { // until the connection ends
		for b := range blocked {
			if b.Active {
				giveUp(fmt.Errorf("the broker takes no messages now: %s", b.Reason))
			}
		}
	})
	err := f(ctx, conn)
	if isCode(err, amqp.NotFound) {
		err = d.missing(conn, err)
	}
	if unwatch() {
		closeSoon(conn)
	} else {
		<-closed
	}
	watching.Wait()
	return err
}

// missing says why there is no queue of dead requests, and what to do about it.
func (d *DeadList) missing(conn *amqp.Connection, notFound error) error {
	err := onChannel(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(d.queue, false, false, false, false, nil)
		return err
	})
	switch {
	case err == nil:
		return fmt.Errorf("%w: queue %q was created without Queue.DeadLetter; "+
			"delete it when it is empty, and have it created with DeadLetter: %w", jsonrpc2.ErrNoDeadList, d.queue, notFound)
	case isCode(err, amqp.NotFound):
		return fmt.Errorf("%w: queue %q does not exist; have it created with Queue.DeadLetter: %w", jsonrpc2.ErrNoDeadList, d.queue, notFound)
	}
	return errors.Join(notFound, err)
}
