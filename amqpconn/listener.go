package amqpconn

import (
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A listener listens to what the broker says of single messages on a channel, on a goroutine
// of its own. The broker also confirms a message that it returns, and the return comes first.
// Without confirms there are returns alone.
type listener[T any] struct {
	session  *publishSession[T]
	returns  <-chan amqp.Return
	returned func(r amqp.Return, item *T) // may be nil
	report   func([]fate[T])
	room     func() // is called when a writer that waits for room has it
	refusals refusals
	waiting  []tracked[T] // messages without a fate, in the order in which they were published
	fates    []fate[T]    // not reported yet
	hasRoom  bool         // room has to be called
}

// listen listens until the channel is closed. The messages that still wait then have an
// unknown fate.
//
//	listen
//	  onReturn      mark a message as returned
//	  collect       take over what the writer has published
//	  onConfirmed
//	    drainReturns  first the returns that came before the confirm
//	    shift         the fate of the first message is known
//	  flush         report the fates
func (l *listener[T]) listen() {
	for l.returns != nil {
		select {
		case r, ok := <-l.returns:
			l.onReturn(r, ok)
		case <-l.session.tracking.added:
			l.collect()
		case <-l.firstConfirmed():
			l.onConfirmed()
		}
		l.flush()
	}
	l.session.stop()
	l.collect()
	for len(l.waiting) > 0 {
		l.shift()
	}
	l.flush()
}

// collect takes over the messages that were published since its last call.
func (l *listener[T]) collect() {
	l.waiting = l.session.tracking.appendUnseen(l.waiting)
}

func (l *listener[T]) onReturn(r amqp.Return, ok bool) {
	if !ok {
		l.returns = nil
		return
	}
	item := l.mark(r.MessageId)
	if l.returned != nil {
		l.returned(r, item)
	}
}

// mark marks a message as returned and returns its item, or nil if it is not tracked. The
// broker returns messages in order, so the message is one of the first.
func (l *listener[T]) mark(messageID string) *T {
	l.collect() // it may have been published just now
	for i := range l.waiting {
		if m := &l.waiting[i]; !m.returned && m.messageID == messageID {
			m.returned = true
			return &m.item
		}
	}
	return nil
}

// drainReturns handles the returns that have come.
func (l *listener[T]) drainReturns() {
	for {
		select {
		case r, ok := <-l.returns:
			if l.onReturn(r, ok); !ok {
				return
			}
		default:
			return
		}
	}
}

// firstConfirmed returns a channel that receives when the first message is confirmed or
// refused, or the channel is closed; nil if no message waits.
func (l *listener[T]) firstConfirmed() <-chan struct{} {
	if len(l.waiting) == 0 {
		return nil
	}
	return l.waiting[0].confirmation.Done()
}

// onConfirmed finds the fates of the messages that are confirmed or refused by now: there are
// many at once.
func (l *listener[T]) onConfirmed() {
	for {
		select {
		case <-l.firstConfirmed():
			l.drainReturns()
			l.shift()
		default:
			return
		}
	}
}

// shift moves the first message to the fates. The broker has confirmed or refused it, or the
// channel is closed.
func (l *listener[T]) shift() {
	m := l.waiting[0]
	clear(l.waiting[:1])
	l.waiting = l.waiting[1:]
	err := l.fateOf(&m)
	if !errors.Is(err, errUnconfirmed) { // it arrived; that counts if all before it did
		l.session.arrived.CompareAndSwap(m.number-1, m.number)
		l.refusals.add(err != errRefused)
	}
	l.fates = append(l.fates, fate[T]{m.item, err})
	l.hasRoom = l.session.tracking.remove(&m) || l.hasRoom
}

// fateOf returns the fate of a message that is confirmed or refused, or whose channel is
// closed. The library reports the end of the channel as a refusal of all messages.
func (l *listener[T]) fateOf(m *tracked[T]) error {
	s := l.session
	switch {
	case m.returned:
		return errReturned
	case m.confirmation.Wait():
		return nil
	case !s.ch.IsClosed():
		return errRefused
	}
	<-s.gone // cause is set
	return fmt.Errorf("%w: %w", errUnconfirmed, s.cause)
}

// flush reports the fates.
func (l *listener[T]) flush() {
	if len(l.fates) == 0 {
		return
	}
	l.report(l.fates)
	clear(l.fates)
	l.fates = l.fates[:0]
	if l.hasRoom {
		l.hasRoom = false
		l.room()
	}
}

// maxRefusal is for how long the broker may refuse every message on a channel. Then the
// channel is replaced. When the leader of a quorum queue dies, RabbitMQ 3.10 may refuse all
// messages on older channels, even when there is another leader.
const maxRefusal = 5 * time.Second

var errAllRefused = fmt.Errorf("amqpconn: all messages refused for %v", maxRefusal)

// refusals give a channel up when the broker refuses every message for long. The reason may
// also be a full queue: then another channel does no harm.
type refusals struct {
	giveUp func(error)
	since  time.Time // when the first refusal in a row came; zero if the last message was taken
}

// add adds what the broker said of a message. confirmed is true for a returned one, too.
func (r *refusals) add(confirmed bool) {
	switch {
	case confirmed:
		r.since = time.Time{}
	case r.since.IsZero():
		r.since = time.Now()
	case time.Since(r.since) >= maxRefusal:
		r.giveUp(errAllRefused)
	}
}
