package amqpconn

import (
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// The checks of a channel find out how many of its messages the broker has taken: it
// answers a question when it has seen to what came before. It does so also without
// confirms, and costs it nothing for each message.
type checks struct {
	taken    atomic.Int64   // messages that the broker is known to have taken
	answered chan struct{}  // holds one if taken may have risen
	running  sync.WaitGroup // the questions that are being put, or will be

	pending bool      // a question will be put
	due     time.Time // of it
	last    time.Time // when the last one was put
}

// checkPause is between two questions, unless somebody waits for the answer.
const checkPause = 100 * time.Millisecond

// check has a question put that comes after all that was published, and at least a
// pause after the one before.
func (s *publishing[T]) check(pause time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	due := s.checks.last.Add(pause)
	if s.ended || s.checks.pending && !due.Before(s.checks.due) {
		return
	}
	s.checks.pending, s.checks.due = true, due
	s.checks.running.Go(func() {
		wait := time.Until(due)
		if wait > 0 && !link.Wait(wait, s.gone) || !s.beginCheck(due) {
			return
		}
		s.ask()
	})
}

// beginCheck reports whether the question is to be put that was due then: not if
// another one was put before.
func (s *publishing[T]) beginCheck(due time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.checks.pending || s.checks.due != due {
		return false
	}
	s.checks.pending, s.checks.last = false, time.Now()
	return true
}

// ask puts the question.
func (s *publishing[T]) ask() {
	s.sending.Lock()
	defer s.sending.Unlock()
	messages := s.messages.Load()
	if s.ch.Qos(0, 0, false) == nil { // what it sets is for consumers
		s.checks.taken.Store(messages)
		link.Signal(s.checks.answered)
	}
}

// tookNothing reports whether it is certain that the broker took nothing of what was
// published on a channel, which ended with an error: who has no right to publish had
// none for the first message either.
func (s *publishing[T]) tookNothing(err error) bool {
	return isCode(err, amqp.AccessRefused) && s.checks.taken.Load() == 0
}
