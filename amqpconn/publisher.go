package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A publisher publishes on whatever connection there is. One goroutine, the
// writer of an outbox, does that; what it publishes while it holds the wire goes out
// in one write. T is what the publisher's user knows a message by.
type publisher[T any] struct {
	*keeper
	sessions sessions[publishSession[T]] // changed wakes the writer

	confirms bool                                                   // each message that is published
	prepare  func(ctx context.Context, conn *amqp.Connection) error // before a connection is used; may be nil
	// returned, if set, is told of what came back. item is nil if it is not tracked.
	returned func(r amqp.Return, item *T)
	// report is told what became of each message that was published by
	// publishTracked. It is told of those that came back, too.
	report func([]fate[T])
	// channelClosed, if set, is told of the end of a channel, when nothing more can come
	// from it.
	channelClosed func(s *publishSession[T], err error)
}

func newPublisher[T any](d *dialer, state *link.State, doing string) *publisher[T] {
	p := &publisher[T]{sessions: newSessions[publishSession[T]]()}
	p.keeper = newKeeper(d, state, doing, p.run)
	return p
}

// run uses a connection until it fails. A channel that refuses everything is
// replaced by another.
func (p *publisher[T]) run(ctx context.Context, conn *amqp.Connection, w *wire, up func()) error {
	var listening sync.WaitGroup
	defer listening.Wait()
	defer closeSoon(conn) // closes what is listened to
	blocked := new(atomic.Pointer[string])
	alarms := conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	listening.Go(func() { p.listenBlocked(blocked, alarms) })
	if p.prepare != nil {
		if err := p.prepare(ctx, conn); err != nil {
			return err
		}
	}
	for {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		err = p.runChannel(ctx, conn, newPublishSession[T](ch, w, blocked), up)
		if !errors.Is(err, errAllRefused) {
			return err
		}
	}
}

// runChannel uses a channel until it fails.
func (p *publisher[T]) runChannel(ctx context.Context, conn *amqp.Connection, s *publishSession[T], up func()) (err error) {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	connClosed := conn.NotifyClose(make(chan *amqp.Error, 1))
	chClosed := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	returns := s.ch.NotifyReturn(make(chan amqp.Return, 64))
	if p.confirms {
		if err := s.ch.Confirm(false); err != nil {
			return err
		}
	}
	var listening sync.WaitGroup
	listening.Go(p.listener(s, returns, giveUp).listen)
	p.sessions.set(s)
	up()
	err = lacking(await(ctx, connClosed, chClosed), write, exchange)
	p.sessions.set(nil)
	s.fail(err)
	if errors.Is(err, errAllRefused) {
		s.awaitFates(connClosed)
		_ = s.ch.Close() // closes what is listened to
	} else {
		closeSoon(conn)
	}
	listening.Wait()
	s.checks.running.Wait()
	if p.channelClosed != nil {
		p.channelClosed(s, err)
	}
	return err
}

func (p *publisher[T]) listener(s *publishSession[T], returns <-chan amqp.Return, giveUp func(error)) *listener[T] {
	return &listener[T]{session: s, returns: returns, returned: p.returned, report: p.report, refusals: refusals{giveUp: giveUp}}
}

// kick receives when a try to publish has become worth while.
func (p *publisher[T]) kick() <-chan struct{} { return p.sessions.changed }

// wakeUp lets the writer try again now.
func (p *publisher[T]) wakeUp() {
	link.Signal(p.sessions.changed)
}

// current returns the channel to publish on, nil if there is none, and whether one
// is there but blocked.
func (p *publisher[T]) current() (s *publishSession[T], blocked bool) {
	s = p.sessions.current()
	if s != nil && s.blocked.Load() != nil {
		return nil, true
	}
	return s, false
}

// impairment returns what keeps messages from being published, nil if nothing does.
func (p *publisher[T]) impairment() error {
	s := p.sessions.current()
	if s == nil {
		return errConnecting
	}
	if reason := s.blocked.Load(); reason != nil {
		return fmt.Errorf("the broker blocks publishers: %s", *reason)
	}
	return nil
}

func (p *publisher[T]) listenBlocked(blocked *atomic.Pointer[string], alarms <-chan amqp.Blocking) {
	for b := range alarms {
		if b.Active {
			blocked.Store(&b.Reason)
			continue
		}
		blocked.Store(nil)
		p.wakeUp()
	}
}
