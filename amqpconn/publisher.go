package amqpconn

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A publisher publishes on whatever connection there is. One goroutine, the
// writer of an outbox, calls begin and end around its publish calls, and all of
// them go out in one write.
type publisher struct {
	keeper
	confirm  bool
	kick     chan struct{} // holds one if there may be a new connection
	returned func(amqp.Return)
	// confirmed is told of each message that the broker takes over or, if not
	// ok, refuses.
	confirmed func(correlation string, ok bool)

	mu      sync.Mutex // protects following
	session *publishing
}

// A publishing is one connection of a publisher.
type publishing struct {
	ch      *amqp.Channel
	wire    *wire
	blocked atomic.Bool // by an alarm of the broker

	giveUp       context.CancelCauseFunc
	refusedSince time.Time // all messages; zero: none. The listener's own

	mu          sync.Mutex // protects following
	unconfirmed map[uint64]string
}

// maxRefusal is for how long a channel is used on which every message is refused.
// When the leader of a quorum queue dies RabbitMQ 3.10 may go on to refuse what
// comes on channels that were opened before there was another leader.
const maxRefusal = 5 * time.Second

var errRefused = fmt.Errorf("amqpconn: all requests refused for %v", maxRefusal)

func newPublisher() *publisher {
	p := &publisher{kick: make(chan struct{}, 1)}
	p.use = p.run
	return p
}

// run has the connection used until it fails.
func (p *publisher) run(ctx context.Context, conn *amqp.Connection, w *wire, up func()) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	s := &publishing{ch: ch, wire: w, giveUp: giveUp, unconfirmed: make(map[uint64]string)}
	connClosed := conn.NotifyClose(make(chan *amqp.Error, 1))
	chClosed := ch.NotifyClose(make(chan *amqp.Error, 1))
	blocked := conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	returns := ch.NotifyReturn(make(chan amqp.Return, 64))
	var confirms chan amqp.Confirmation
	if p.confirm {
		if err := ch.Confirm(false); err != nil {
			return err
		}
		confirms = ch.NotifyPublish(make(chan amqp.Confirmation, 1024))
	}
	var listening sync.WaitGroup
	listening.Go(func() { p.listenBlocked(s, blocked) })
	listening.Go(func() { p.listenReturns(s, returns, confirms) })
	p.set(s)
	up()
	err = await(ctx, connClosed, chClosed)
	p.set(nil)
	closeSoon(conn) // closes what is listened to
	listening.Wait()
	return err
}

func (p *publisher) set(s *publishing) {
	p.mu.Lock()
	p.session = s
	p.mu.Unlock()
	p.wakeUp()
}

// wakeUp has the writer try again now.
func (p *publisher) wakeUp() {
	link.Signal(p.kick)
}

// current returns the connection to publish on, nil if there is none, and
// whether one is there but blocked.
func (p *publisher) current() (s *publishing, blocked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.session != nil && p.session.blocked.Load() {
		return nil, true
	}
	return p.session, false
}

func (p *publisher) listenBlocked(s *publishing, blocked <-chan amqp.Blocking) {
	for b := range blocked {
		s.blocked.Store(b.Active)
		if !b.Active {
			p.wakeUp()
		}
	}
}

// listenReturns listens to what the broker says of single messages. A message
// that is returned is confirmed, too, and the return comes first.
func (p *publisher) listenReturns(s *publishing, returns <-chan amqp.Return, confirms <-chan amqp.Confirmation) {
	unroutable := make(map[string]bool) // until confirmed
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
			correlation, ok := s.confirm(c.DeliveryTag)
			if ok && !unroutable[correlation] {
				p.confirmed(correlation, c.Ack)
			}
			delete(unroutable, correlation)
		}
	}
}

func (p *publisher) drainReturns(returns <-chan amqp.Return, unroutable map[string]bool) {
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

func (p *publisher) noteReturn(r amqp.Return, unroutable map[string]bool) {
	if p.confirm {
		unroutable[r.CorrelationId] = true
	}
	p.returned(r)
}

// noteConfirmation gives the connection up when nothing else than refusals has
// come for long.
func (s *publishing) noteConfirmation(ack bool) {
	switch {
	case ack:
		s.refusedSince = time.Time{}
	case s.refusedSince.IsZero():
		s.refusedSince = time.Now()
	case time.Since(s.refusedSince) >= maxRefusal:
		s.giveUp(errRefused)
	}
}

func (s *publishing) confirm(tag uint64) (correlation string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	correlation, ok = s.unconfirmed[tag]
	delete(s.unconfirmed, tag)
	return correlation, ok
}

// publish publishes to a queue. It is mandatory: what can't be routed comes
// back. An error says that the message did not go out, and that the connection
// is gone.
func (s *publishing) publish(queue string, msg amqp.Publishing, confirm bool) error {
	if confirm {
		s.mu.Lock()
		s.unconfirmed[s.ch.GetNextPublishSeqNo()] = msg.CorrelationId
		s.mu.Unlock()
	}
	return s.ch.PublishWithContext(context.Background(), "", queue, true, false, msg)
}
