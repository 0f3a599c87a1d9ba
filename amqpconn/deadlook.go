package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

const (
	// maxLook is how many requests a look goes through. The queue may have more than
	// maxDead: the requests that a look holds don't count towards its limit.
	maxLook = 2 * maxDead

	// lookPatience is how long a look waits for another one.
	lookPatience = 15 * time.Second

	// lookPause is the time between two tries to begin a look. When no request comes for as
	// long, a look asks whether it has seen all.
	lookPause = 5 * time.Millisecond
)

// A deadLook looks at the dead requests of a queue. It holds the requests that it has seen and
// not acknowledged until its channel is closed.
type deadLook struct {
	ctx    context.Context
	ch     *amqp.Channel
	queue  string
	dead   string // the queue of its dead requests
	closed <-chan *amqp.Error
}

// look calls f with a look, when no other look goes on. If look returns nil, the broker has
// the acknowledgements of f: it handles them before it answers that the channel is closed.
func (d *DeadList) look(ctx context.Context, doing string, f func(*deadLook) error) error {
	return d.connected(ctx, doing, func(ctx context.Context, conn *amqp.Connection) error {
		if err := d.lock(ctx, conn); err != nil {
			return err
		}
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		l := &deadLook{ctx: ctx, ch: ch, queue: d.queue, dead: d.dead, closed: ch.NotifyClose(make(chan *amqp.Error, 1))}
		if err := f(l); err != nil {
			return l.explain(err)
		}
		return l.explain(ch.Close())
	})
}

// lock waits until no other look goes on. The lock is an exclusive queue: no other connection
// can declare it before this one has ended.
func (d *DeadList) lock(ctx context.Context, conn *amqp.Connection) error {
	name := d.queue + lockSuffix
	for begin := time.Now(); ; {
		err := onChannel(conn, func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(name, false, false, true, false, nil)
			return err
		})
		switch {
		case !isCode(err, amqp.ResourceLocked):
			return lacking(err, configure, name)
		case time.Since(begin) > d.patience:
			return fmt.Errorf("another look at them has not ended within %v: %w", d.patience, err)
		case !link.Wait(lookPause, ctx.Done()):
			return ctx.Err()
		}
	}
}

// explain returns why the channel was closed, if err says that it is.
func (l *deadLook) explain(err error) error {
	if errors.Is(err, amqp.ErrClosed) {
		err = closeError(<-l.closed)
	}
	return lacking(err, write, exchange)
}

// messages returns the dead requests, the oldest first. A look calls it once.
func (l *deadLook) messages() iter.Seq2[amqp.Delivery, error] {
	return func(yield func(amqp.Delivery, error) bool) {
		if err := l.each(func(m amqp.Delivery) bool { return yield(m, nil) }); err != nil {
			yield(amqp.Delivery{}, err)
		}
	}
}

// each consumes the queue until it is empty, or yield returns false. basic.get would need a
// round trip for each request.
func (l *deadLook) each(yield func(amqp.Delivery) bool) error {
	if err := l.ch.Qos(maxLook, 0, false); err != nil {
		return err
	}
	tag := link.NewName()
	messages, err := l.ch.Consume(l.dead, tag, false, false, false, false, nil)
	if err != nil {
		return lacking(err, read, l.dead)
	}
	for seen := 0; seen < maxLook; {
		select {
		case m, ok := <-messages:
			if !ok {
				return amqp.ErrClosed
			}
			if seen++; !yield(m) {
				return nil
			}
			continue
		case <-time.After(lookPause):
		}
		q, err := l.ch.QueueDeclarePassive(l.dead, false, false, false, false, nil)
		if err != nil {
			return err
		}
		if q.Messages == 0 { // the last requests have come before this answer
			break
		}
	}
	return l.rest(tag, messages, yield)
}

// rest stops consuming, and yields the requests that have come.
func (l *deadLook) rest(tag string, messages <-chan amqp.Delivery, yield func(amqp.Delivery) bool) error {
	if err := l.ch.Cancel(tag, false); err != nil {
		return err
	}
	for m := range messages {
		if !yield(m) {
			return nil
		}
	}
	return nil
}

// these returns the messages of the dead requests that are still there. Several messages may
// have the same Handle: it then returns as many of them as dead has.
func (l *deadLook) these(dead []jsonrpc2.DeadRequest) iter.Seq2[amqp.Delivery, error] {
	wanted := make(map[string]int)
	for _, d := range dead {
		wanted[d.Handle]++
	}
	left := len(dead)
	return func(yield func(amqp.Delivery, error) bool) {
		if left == 0 {
			return
		}
		for m, err := range l.messages() {
			if err != nil {
				yield(m, err)
				return
			}
			handle := handleOf(&m, l.queue)
			if wanted[handle] == 0 {
				continue
			}
			wanted[handle]--
			left--
			if !yield(m, nil) || left == 0 {
				return
			}
		}
	}
}
