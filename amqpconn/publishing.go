package amqpconn

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A publishSession is one channel on which a writer publishes messages. In confirm mode each
// message is tracked until the broker has confirmed it. Else, for requests, the checks find
// out how many have arrived.
type publishSession[T any] struct {
	ch       *amqp.Channel
	wire     *wire
	confirms bool

	// An outlet holds sending while it publishes, and a check while it asks: the library
	// would mix up the frames of both. Answers need no check, and so no lock.
	sending   sync.Mutex
	published atomic.Int64 // messages
	arrived   atomic.Int64 // so many of them, the first ones, are known to have arrived
	tracking  tracking[T]  // used with confirms
	checks    checks       // used for requests without confirms
	written   tally        // used for answers without confirms

	gone  chan struct{} // closed when the channel is given up, or has failed
	cause error         // why; set before gone is closed
}

func newPublishSession[T any](ch *amqp.Channel, w *wire, confirms bool) *publishSession[T] {
	s := &publishSession[T]{ch: ch, wire: w, confirms: confirms, gone: make(chan struct{})}
	s.tracking.added = make(chan struct{}, 1)
	s.checks.ask, s.checks.gone = s.ask, s.gone
	return s
}

// publish publishes a mandatory message to a queue: the message comes back if there is no
// such queue. One goroutine calls it. In confirm mode the fate of item is reported, except
// after an error. An error says that the message did not go out, and that the channel is
// gone.
func (s *publishSession[T]) publish(queue string, msg amqp.Publishing, item T) error {
	if s.confirms {
		return s.publishTracked(queue, msg, item)
	}
	err := s.ch.PublishWithContext(context.Background(), "", queue, true, false, msg)
	if err == nil {
		s.published.Add(1)
	}
	return err
}

// publishTracked publishes and tracks a message. A return names the message by its
// MessageId, so that each needs one.
func (s *publishSession[T]) publishTracked(queue string, msg amqp.Publishing, item T) error {
	if msg.MessageId == "" {
		msg.MessageId = strconv.FormatInt(s.published.Load()+1, 10)
	}
	t := &s.tracking
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stopped {
		return amqp.ErrClosed
	}
	confirmation, err := s.ch.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, true, false, msg)
	if err != nil {
		return err
	}
	t.add(tracked[T]{
		item:         item,
		number:       s.published.Add(1),
		size:         len(msg.Body),
		confirmation: confirmation,
		messageID:    msg.MessageId,
	})
	return nil
}

// stop makes publish fail in confirm mode, and ends the checks.
func (s *publishSession[T]) stop() {
	s.checks.stop()
	s.tracking.mu.Lock()
	defer s.tracking.mu.Unlock()
	s.tracking.stopped = true
}

// check finds out soon how many of the messages have arrived. In confirm mode the confirms
// say that.
func (s *publishSession[T]) check() {
	if !s.confirms {
		s.checks.start()
	}
}

// isFull reports whether a message has to wait for the confirms of others.
func (s *publishSession[T]) isFull() bool { return s.confirms && s.tracking.isFull() }

// ask asks the broker a question that changes nothing. The broker answers when it has
// handled all messages that came before.
func (s *publishSession[T]) ask() {
	s.sending.Lock()
	defer s.sending.Unlock()
	published := s.published.Load()
	if s.ch.Qos(0, 0, false) == nil { // this prefetch is for consumers: the channel has none
		s.arrived.Store(published)
	}
}

// nothingArrived reports whether it is certain that no message of the session arrived. err
// has ended the session. If err is a missing right, and no message is known to have arrived,
// the right was missing for the first message, too.
func (s *publishSession[T]) nothingArrived(err error) bool {
	return isCode(err, amqp.AccessRefused) && s.arrived.Load() == 0
}

// fail says why the channel is given up, or has failed. That ends what waits for gone.
func (s *publishSession[T]) fail(cause error) {
	s.cause = cause
	close(s.gone)
}

// awaitFates stops publishing, and waits for the fates of what was published. It gives up
// after sendGrace, or when closed receives.
func (s *publishSession[T]) awaitFates(closed <-chan *amqp.Error) {
	s.stop()
	all := make(chan struct{})
	go func() { // it ends when the channel is closed, at the latest
		defer close(all)
		s.tracking.undecided.Wait()
	}()
	timer := time.NewTimer(sendGrace)
	defer timer.Stop()
	select {
	case <-all:
	case <-closed:
	case <-timer.C:
	}
}
