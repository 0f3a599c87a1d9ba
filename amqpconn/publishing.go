package amqpconn

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A publishSession is one channel on which messages are published. In confirm mode each
// message is tracked until the broker has confirmed it. Else the checks find out how many
// have arrived.
type publishSession[T any] struct {
	ch       *amqp.Channel
	wire     *wire
	confirms bool

	sending   sync.Mutex   // held while messages are published, or a check goes on: the library mixes up their frames
	published atomic.Int64 // messages
	arrived   atomic.Int64 // the first messages of these, known to have arrived
	tracking  tracking[T]
	checks    checks
	written   tally // without confirms

	gone  chan struct{} // closed when the channel is given up, or has failed
	cause error         // why; set before gone is closed
}

func newPublishSession[T any](ch *amqp.Channel, w *wire, confirms bool) *publishSession[T] {
	s := &publishSession[T]{ch: ch, wire: w, confirms: confirms, gone: make(chan struct{})}
	s.tracking.added = make(chan struct{}, 1)
	s.checks.ask, s.checks.gone = s.ask, s.gone
	return s
}

// publish publishes to a queue. It is mandatory: what can't be routed comes back. In
// confirm mode the fate of item is reported, except after an error. An error says that the
// message did not go out, and that the channel is gone.
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

// stop lets nothing more be published that is tracked, and nothing be asked.
func (s *publishSession[T]) stop() {
	s.checks.stop()
	s.tracking.mu.Lock()
	defer s.tracking.mu.Unlock()
	s.tracking.stopped = true
}

// check asks the broker soon how many of the messages have arrived. Confirms say that
// without a question.
func (s *publishSession[T]) check() {
	if !s.confirms {
		s.checks.start()
	}
}

// isFull reports whether a message has to wait for the confirms of others.
func (s *publishSession[T]) isFull() bool { return s.confirms && s.tracking.isFull() }

// ask asks the broker something. The answer comes when it has seen to all messages
// before.
func (s *publishSession[T]) ask() {
	s.sending.Lock()
	defer s.sending.Unlock()
	published := s.published.Load()
	if s.ch.Qos(0, 0, false) == nil { // what it sets is for consumers
		s.arrived.Store(published)
	}
}

// nothingArrived reports whether it is certain that none of the messages on a channel
// arrived, which ended with an error: who has no right to publish had none for the
// first message either.
func (s *publishSession[T]) nothingArrived(err error) bool {
	return isCode(err, amqp.AccessRefused) && s.arrived.Load() == 0
}

// fail ends what waits for a channel that is given up, or has failed.
func (s *publishSession[T]) fail(cause error) {
	s.cause = cause
	close(s.gone)
}

// awaitFates waits a while for the fates of what was published, and lets nothing
// more be published.
func (s *publishSession[T]) awaitFates(closed <-chan *amqp.Error) {
	s.stop()
	all := make(chan struct{})
	go func() { // until the channel is closed, at the latest
		defer close(all)
		s.tracking.unreported.Wait()
	}()
	timer := time.NewTimer(sendGrace)
	defer timer.Stop()
	select {
	case <-all:
	case <-closed:
	case <-timer.C:
	}
}
