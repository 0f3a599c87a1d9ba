package amqpconn

import (
	"context"
	"errors"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A publishChannel keeps a channel of a publisher's connection. One goroutine, the writer
// of an outbox, publishes on it; what it publishes while it holds the wire goes out in one
// write. T is what the writer knows a message by.
type publishChannel[T any] struct {
	sessions sessions[publishSession[T]] // changed wakes the writer
	confirms bool                        // each message that is published
	onDemand bool                        // it is not opened before open is called
	open     func()
	opening  chan struct{} // closed by open

	// returned, if set, is told of what came back. item is nil without confirms.
	returned func(r amqp.Return, item *T)
	// report, with confirms, is told what became of each message. It is told of those
	// that came back, too.
	report func([]fate[T])
	// ended, if set, is told of the end of a session, when nothing more can come from it.
	ended func(s *publishSession[T], err error)
}

func newPublishChannel[T any](confirms, onDemand bool) *publishChannel[T] {
	c := &publishChannel[T]{
		sessions: newSessions[publishSession[T]](),
		confirms: confirms,
		onDemand: onDemand,
		opening:  make(chan struct{}),
	}
	c.open = sync.OnceFunc(func() { close(c.opening) })
	return c
}

// run implements channelUser. A channel that refuses everything is replaced by another.
func (c *publishChannel[T]) run(ctx context.Context, conn *publishConn) error {
	if c.onDemand {
		closed := conn.NotifyClose(make(chan *amqp.Error, 1))
		if err := awaitOpening(ctx, closed, c.opening); err != nil {
			return err
		}
	}
	for {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		err = c.runSession(ctx, conn, newPublishSession[T](ch, conn.wire, c.confirms))
		if !errors.Is(err, errAllRefused) {
			return err
		}
	}
}

// awaitOpening waits until a channel is to be opened. It returns why it is not.
func awaitOpening(ctx context.Context, closed <-chan *amqp.Error, opening <-chan struct{}) error {
	select {
	case <-opening:
		return nil
	case err := <-closed:
		return closeError(err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// runSession uses a channel until it fails.
func (c *publishChannel[T]) runSession(ctx context.Context, conn *publishConn, s *publishSession[T]) (err error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	connClosed := conn.NotifyClose(make(chan *amqp.Error, 1))
	chClosed := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	returns := s.ch.NotifyReturn(make(chan amqp.Return, 64))
	if c.confirms {
		if err := s.ch.Confirm(false); err != nil {
			return err
		}
	}
	var listening sync.WaitGroup
	listening.Go(c.listener(s, returns, giveUp).listen)
	c.sessions.set(s)
	if !c.onDemand {
		conn.up()
	}
	err = lacking(await(ctx, connClosed, chClosed), write, exchange)
	c.sessions.set(nil)
	s.fail(err)
	if errors.Is(err, errAllRefused) {
		s.awaitFates(connClosed)
		_ = s.ch.Close() // closes what is listened to
	} else {
		conn.failed(err)
		closeSoon(conn.Connection)
	}
	listening.Wait()
	s.checks.running.Wait()
	if c.ended != nil {
		c.ended(s, err)
	}
	return err
}

func (c *publishChannel[T]) listener(s *publishSession[T], returns <-chan amqp.Return, giveUp func(error)) *listener[T] {
	return &listener[T]{
		session:  s,
		returns:  returns,
		returned: c.returned,
		report:   c.report,
		room:     c.wakeUp,
		refusals: refusals{giveUp: giveUp},
	}
}

// kick receives when a try to publish has become worth while.
func (c *publishChannel[T]) kick() <-chan struct{} { return c.sessions.changed }

// wakeUp implements channelUser.
func (c *publishChannel[T]) wakeUp() { link.Signal(c.sessions.changed) }

// current returns the channel to publish on, nil if there is none.
func (c *publishChannel[T]) current() *publishSession[T] { return c.sessions.current() }
