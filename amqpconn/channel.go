package amqpconn

import (
	"context"
	"errors"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A publishChannel keeps a channel of a publisher's connection open, for one goroutine: the
// writer of an outbox. The messages that the writer publishes while it holds the wire go out
// in one write. T is what the writer publishes: a request or a reply.
//
// A publishChannel has two goroutines: run's, and for each session its listener's. The
// listener's calls returned and report; run's calls ended.
type publishChannel[T any] struct {
	sessions sessions[publishSession[T]] // changed wakes the writer
	confirms bool                        // the channel is in confirm mode
	onDemand bool                        // the channel is not opened before open is called
	open     func()
	opening  chan struct{} // closed by open

	// returned, if set, is called with each message that came back. Without confirms item
	// is nil.
	returned func(r amqp.Return, item *T)
	// report is called, with confirms, with the fates of messages. Those that came back
	// are among them.
	report func([]fate[T])
	// ended, if set, is called when a session has ended, after the last returned and report.
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

// run implements channelUser. If the broker refuses all messages on a channel, run opens
// another one on the same connection.
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

// awaitOpening waits until a channel is to be opened. An error says why none is.
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

// runSession makes s the current session until its channel or connection fails, ctx is done,
// or the broker has refused all messages for long. In the last case the connection goes on.
// Else runSession closes it, and the publisher opens another one.
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
	if !c.onDemand { // another channel says that the connection is up
		conn.up()
	}
	err = lacking(await(ctx, connClosed, chClosed), write, exchange)
	c.sessions.set(nil)
	s.fail(err)
	if errors.Is(err, errAllRefused) {
		s.awaitFates(connClosed)
		_ = s.ch.Close() // ends the listener
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

// kick returns a channel that receives when it is worth trying to publish again.
func (c *publishChannel[T]) kick() <-chan struct{} { return c.sessions.changed }

// wakeUp implements channelUser: it makes the channel of kick receive.
func (c *publishChannel[T]) wakeUp() { link.Signal(c.sessions.changed) }

// current returns the session to publish on, nil if there is none.
func (c *publishChannel[T]) current() *publishSession[T] { return c.sessions.current() }
