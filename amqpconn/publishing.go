package amqpconn

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A publishSession is one channel on which messages are published.
type publishSession[T any] struct {
	ch      *amqp.Channel
	wire    *wire
	blocked *atomic.Pointer[string] // why the broker blocks the connection, or nil

	sending  sync.Mutex   // held while messages are published, or a check goes on: the library mixes up their frames
	messages atomic.Int64 // published
	checks   checks
	tracking tracking[T]
	written  tally // without confirms

	gone  chan struct{} // closed when the channel is given up, or has failed
	cause error         // why; set before gone is closed
}

// A tracking is the tracked messages on their way to the listener.
type tracking[T any] struct {
	unreported sync.WaitGroup // the messages whose fate is not reported
	added      chan struct{}  // receives if there may be something in unseen

	mu      sync.Mutex   // protects following
	unseen  []tracked[T] // by the listener
	stopped bool         // nothing more is tracked
}

// maxUnseen is for how many messages room is kept.
const maxUnseen = 1024

func newPublishSession[T any](ch *amqp.Channel, w *wire, blocked *atomic.Pointer[string]) *publishSession[T] {
	s := &publishSession[T]{ch: ch, wire: w, blocked: blocked, gone: make(chan struct{})}
	s.tracking.added = make(chan struct{}, 1)
	s.checks.answered = make(chan struct{}, 1)
	s.checks.ask, s.checks.gone = s.ask, s.gone
	return s
}

// publish publishes to a queue. It is mandatory: what can't be routed comes
// back. An error says that the message did not go out, and that the channel is
// gone.
func (s *publishSession[T]) publish(queue string, msg amqp.Publishing) error {
	err := s.ch.PublishWithContext(context.Background(), "", queue, true, false, msg)
	if err == nil {
		s.messages.Add(1)
	}
	return err
}

// publishTracked is publish of a message whose fate is reported. After an error
// nothing is reported of it.
func (s *publishSession[T]) publishTracked(queue string, msg amqp.Publishing, item T) error {
	if msg.MessageId == "" {
		msg.MessageId = strconv.FormatInt(s.messages.Load()+1, 10)
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
	t.unreported.Add(1)
	t.unseen = append(t.unseen, tracked[T]{item: item, number: s.messages.Add(1), confirmation: confirmation, messageID: msg.MessageId})
	link.Signal(t.added)
	return nil
}

// appendUnseen appends what was published since the last time.
func (t *tracking[T]) appendUnseen(seen []tracked[T]) []tracked[T] {
	t.mu.Lock()
	defer t.mu.Unlock()
	seen = append(seen, t.unseen...)
	clear(t.unseen) // what is done with is not kept alive
	t.unseen = t.unseen[:0]
	if cap(t.unseen) > maxUnseen {
		t.unseen = nil
	}
	return seen
}

// stop lets nothing more be published that is tracked, and nothing be asked.
func (s *publishSession[T]) stop() {
	s.checks.stop()
	s.tracking.mu.Lock()
	defer s.tracking.mu.Unlock()
	s.tracking.stopped = true
}

// ask asks the broker something. The answer comes when it has seen to all messages
// before.
func (s *publishSession[T]) ask() {
	s.sending.Lock()
	defer s.sending.Unlock()
	messages := s.messages.Load()
	if s.ch.Qos(0, 0, false) == nil { // what it sets is for consumers
		s.checks.answer(messages)
	}
}

// nothingArrived reports whether it is certain that none of the messages on a channel
// arrived, which ended with an error: who has no right to publish had none for the
// first message either.
func (s *publishSession[T]) nothingArrived(err error) bool {
	return isCode(err, amqp.AccessRefused) && s.checks.arrived.Load() == 0
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
