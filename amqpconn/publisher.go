package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A publisher publishes on whatever connection there is. One goroutine, the
// writer of an outbox, does that; what it publishes while it holds the wire goes out
// in one write. T is what the publisher's user knows a message by.
type publisher[T any] struct {
	keeper
	confirm bool
	prepare func(ctx context.Context, conn *amqp.Connection) error // before a connection is used; may be nil
	kick    chan struct{}                                          // holds one if there may be a new connection
	// returned, if set, is told of what came back. item is nil if it is not tracked.
	returned func(r amqp.Return, item *T)
	// settled is told what became of each message that was published by
	// publishTracked. It is told of those that came back, too.
	settled func([]fate[T])
	// failed, if set, is told of the end of a channel, when nothing more can come
	// from it.
	failed func(s *publishing[T], err error)

	mu      sync.Mutex // protects following
	session *publishing[T]
}

// A publishing is one channel of a publisher.
type publishing[T any] struct {
	ch      *amqp.Channel
	wire    *wire
	blocked *atomic.Pointer[string] // why the broker blocks the connection, or nil

	sending  sync.Mutex   // held while messages are published, or a check goes on: the library mixes up their frames
	messages atomic.Int64 // published
	checks   checks
	written  tally // without confirms

	giveUp context.CancelCauseFunc
	gone   chan struct{} // closed when the channel is given up, or has failed
	cause  error         // why; set before gone is closed

	refusedSince time.Time      // all messages; zero: none. The listener's own
	untold       sync.WaitGroup // the tracked messages whose fate is not told
	added        chan struct{}  // holds one if there may be something in unseen

	mu     sync.Mutex   // protects following, and the checks' state
	unseen []tracked[T] // by the listener
	ended  bool         // nothing more is tracked, or checked
}

func newPublisher[T any]() *publisher[T] {
	p := &publisher[T]{kick: make(chan struct{}, 1)}
	p.use = p.run
	return p
}

// run has the connection used until it fails. A channel that refuses everything
// is replaced by another.
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
		err := p.runChannel(ctx, conn, &publishing[T]{wire: w, blocked: blocked}, up)
		if !errors.Is(err, errRefused) {
			return err
		}
	}
}

// runChannel has a channel used until it fails.
func (p *publisher[T]) runChannel(ctx context.Context, conn *amqp.Connection, s *publishing[T], up func()) (err error) {
	if s.ch, err = conn.Channel(); err != nil {
		return err
	}
	ctx, s.giveUp = context.WithCancelCause(ctx)
	defer s.giveUp(nil)
	s.added, s.gone = make(chan struct{}, 1), make(chan struct{})
	s.checks.answered = make(chan struct{}, 1)
	connClosed := conn.NotifyClose(make(chan *amqp.Error, 1))
	chClosed := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	returns := s.ch.NotifyReturn(make(chan amqp.Return, 64))
	if p.confirm {
		if err := s.ch.Confirm(false); err != nil {
			return err
		}
	}
	var listening sync.WaitGroup
	listening.Go(func() { p.listen(s, returns) })
	p.set(s)
	up()
	err = lacking(await(ctx, connClosed, chClosed), write, exchange)
	p.set(nil)
	s.cause = err
	close(s.gone)
	if errors.Is(err, errRefused) {
		s.awaitConfirms(connClosed)
		_ = s.ch.Close() // closes what is listened to
	} else {
		closeSoon(conn)
	}
	listening.Wait()
	s.checks.running.Wait()
	if p.failed != nil {
		p.failed(s, err)
	}
	return err
}

func (p *publisher[T]) set(s *publishing[T]) {
	p.mu.Lock()
	p.session = s
	p.mu.Unlock()
	p.wakeUp()
}

// wakeUp has the writer try again now.
func (p *publisher[T]) wakeUp() {
	link.Signal(p.kick)
}

// current returns the connection to publish on, nil if there is none, and
// whether one is there but blocked.
func (p *publisher[T]) current() (s *publishing[T], blocked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil && p.session.blocked.Load() != nil {
		return nil, true
	}
	return p.session, false
}

// impairment returns what keeps messages from being published, nil if nothing does.
func (p *publisher[T]) impairment() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session == nil {
		return errConnecting
	}
	if reason := p.session.blocked.Load(); reason != nil {
		return fmt.Errorf("the broker blocks publishers: %s", *reason)
	}
	return nil
}

var errConnecting = errors.New("still connecting")

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

// publish publishes to a queue. It is mandatory: what can't be routed comes
// back. An error says that the message did not go out, and that the channel is
// gone.
func (s *publishing[T]) publish(queue string, msg amqp.Publishing) error {
	err := s.ch.PublishWithContext(context.Background(), "", queue, true, false, msg)
	if err == nil {
		s.messages.Add(1)
	}
	return err
}
