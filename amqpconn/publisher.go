package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A publisher publishes on whatever connection there is. One goroutine, the
// writer of an outbox, calls begin and end around its publish calls, and all of
// them go out in one write. T is what the publisher's user knows a message by.
type publisher[T any] struct {
	keeper
	confirm  bool
	prepare  func(ctx context.Context, conn *amqp.Connection) error // before a connection is used; may be nil
	kick     chan struct{}                                          // holds one if there may be a new connection
	returned func(amqp.Return)
	// settled is told what became of each message, if confirm is set. A message
	// that is returned is told of to both.
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
	blocked *atomic.Bool // the connection is, by an alarm of the broker

	giveUp       context.CancelCauseFunc
	written      tally     // without confirms
	refusedSince time.Time // all messages; zero: none. The listener's own

	mu          sync.Mutex // protects following
	unconfirmed map[uint64]unconfirmed[T]
	ended       bool // nothing more is confirmed
}

// An unconfirmed is a message that the broker has not confirmed.
type unconfirmed[T any] struct {
	messageID string
	item      T
}

// A fate is what became of a message. err is nil if the broker took it over,
// else errUnroutable, errNotTaken or errUnknown.
type fate[T any] struct {
	item T
	err  error
}

var (
	errUnroutable = errors.New("there is no such queue")
	errNotTaken   = errors.New("the broker refused it")
	errUnknown    = errors.New("the connection ended before the broker confirmed it")
)

// maxRefusal is after how long a channel is replaced on which every message is refused.
// When the leader of a quorum queue dies RabbitMQ 3.10 may go on to refuse what
// comes on channels that were opened before there was another leader.
const maxRefusal = 5 * time.Second

var errRefused = fmt.Errorf("amqpconn: all requests refused for %v", maxRefusal)

func newPublisher[T any]() *publisher[T] {
	p := &publisher[T]{kick: make(chan struct{}, 1)}
	p.use = p.run
	return p
}

// run has the connection used until it fails. A channel that refuses everything
// is replaced by another.
func (p *publisher[T]) run(ctx context.Context, conn *amqp.Connection, w *wire, up func()) error {
	if p.prepare != nil {
		if err := p.prepare(ctx, conn); err != nil {
			return err
		}
	}
	var listening sync.WaitGroup
	defer listening.Wait()
	defer closeSoon(conn) // closes what is listened to
	blocked := new(atomic.Bool)
	alarms := conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	listening.Go(func() { p.listenBlocked(blocked, alarms) })
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
	s.unconfirmed = make(map[uint64]unconfirmed[T])
	connClosed := conn.NotifyClose(make(chan *amqp.Error, 1))
	chClosed := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	returns := s.ch.NotifyReturn(make(chan amqp.Return, 64))
	var confirms chan amqp.Confirmation
	if p.confirm {
		if err := s.ch.Confirm(false); err != nil {
			return err
		}
		confirms = s.ch.NotifyPublish(make(chan amqp.Confirmation, 1024))
	}
	var listening sync.WaitGroup
	listening.Go(func() { p.listenReturns(s, returns, confirms) })
	p.set(s)
	up()
	err = await(ctx, connClosed, chClosed)
	p.set(nil)
	if errors.Is(err, errRefused) {
		_ = s.ch.Close() // closes what is listened to
	} else {
		closeSoon(conn)
	}
	listening.Wait()
	if lost := s.end(); len(lost) > 0 {
		p.settled(lost)
	}
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
	if p.session != nil && p.session.blocked.Load() {
		return nil, true
	}
	return p.session, false
}

func (p *publisher[T]) listenBlocked(blocked *atomic.Bool, alarms <-chan amqp.Blocking) {
	for b := range alarms {
		blocked.Store(b.Active)
		if !b.Active {
			p.wakeUp()
		}
	}
}

// listenReturns listens to what the broker says of single messages. A message
// that is returned is confirmed, too, and the return comes first.
func (p *publisher[T]) listenReturns(s *publishing[T], returns <-chan amqp.Return, confirms <-chan amqp.Confirmation) {
	unroutable := make(map[string]bool) // by message id, until confirmed
	var fates []fate[T]
	for returns != nil || confirms != nil {
		select {
		case r, ok := <-returns:
			if !ok {
				returns = nil
				continue
			}
			p.noteReturn(r, unroutable)
		case c, ok := <-confirms:
			if !ok {
				confirms = nil
				continue
			}
			p.drainReturns(returns, unroutable)
			s.noteConfirmation(c.Ack)
			fates = s.confirm(fates, c, unroutable)
			if len(confirms) == 0 || len(fates) == cap(confirms) {
				p.settled(fates)
				fates = nil
			}
		}
	}
	if len(fates) > 0 {
		p.settled(fates)
	}
}

func (p *publisher[T]) drainReturns(returns <-chan amqp.Return, unroutable map[string]bool) {
	for {
		select {
		case r, ok := <-returns:
			if !ok {
				return
			}
			p.noteReturn(r, unroutable)
		default:
			return
		}
	}
}

func (p *publisher[T]) noteReturn(r amqp.Return, unroutable map[string]bool) {
	if p.confirm {
		unroutable[r.MessageId] = true
	}
	if p.returned != nil {
		p.returned(r)
	}
}

// noteConfirmation gives the channel up when nothing else than refusals has come
// for long. The queue may be full instead: then another channel does no harm.
func (s *publishing[T]) noteConfirmation(ack bool) {
	switch {
	case ack:
		s.refusedSince = time.Time{}
	case s.refusedSince.IsZero():
		s.refusedSince = time.Now()
	case time.Since(s.refusedSince) >= maxRefusal:
		s.giveUp(errRefused)
	}
}

// confirm adds the fate of a message to those given.
func (s *publishing[T]) confirm(fates []fate[T], c amqp.Confirmation, unroutable map[string]bool) []fate[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, ok := s.unconfirmed[c.DeliveryTag]
	if !ok {
		return fates
	}
	delete(s.unconfirmed, c.DeliveryTag)
	f := fate[T]{item: u.item}
	switch {
	case unroutable[u.messageID]:
		delete(unroutable, u.messageID)
		f.err = errUnroutable
	case !c.Ack:
		f.err = errNotTaken
	}
	return append(fates, f)
}

// end returns the fate of what will not be confirmed.
func (s *publishing[T]) end() (lost []fate[T]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, u := range s.unconfirmed {
		lost = append(lost, fate[T]{u.item, errUnknown})
	}
	clear(s.unconfirmed)
	return lost
}

// publish publishes to a queue. It is mandatory: what can't be routed comes
// back. An error says that the message did not go out, and that the channel is
// gone.
func (s *publishing[T]) publish(queue string, msg amqp.Publishing) error {
	return s.ch.PublishWithContext(context.Background(), "", queue, true, false, msg)
}

// publishConfirmed is publish on a connection that confirms. After an error
// nothing is told of the message any more.
func (s *publishing[T]) publishConfirmed(queue string, msg amqp.Publishing, item T) error {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return amqp.ErrClosed
	}
	tag := s.ch.GetNextPublishSeqNo()
	if msg.MessageId == "" {
		msg.MessageId = strconv.FormatUint(tag, 10)
	}
	s.unconfirmed[tag] = unconfirmed[T]{msg.MessageId, item}
	s.mu.Unlock()
	err := s.publish(queue, msg)
	if err == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.unconfirmed[tag]; !ok {
		return nil // it was told that its fate is unknown
	}
	delete(s.unconfirmed, tag)
	return err
}
