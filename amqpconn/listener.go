package amqpconn

import (
	"errors"
	"fmt"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A listener listens to what the broker says of single messages on a channel. A
// message that is returned is confirmed, too, and the return comes first.
type listener[T any] struct {
	session  *publishSession[T]
	returns  <-chan amqp.Return
	returned func(r amqp.Return, item *T) // may be nil
	report   func([]fate[T])
	room     func() // is called when there is room again for a writer that waits
	refusals refusals
	waiting  []tracked[T] // in the order in which they were published
	fates    []fate[T]    // not reported yet
	hasRoom  bool         // room is to be called
}

// listen listens until the channel is closed.
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

// collect takes over what was published since the last time.
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

// mark marks a message as returned, if it is tracked, and returns it. It is one of
// the first.
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

// firstConfirmed receives when the first message is confirmed, or refused.
func (l *listener[T]) firstConfirmed() <-chan struct{} {
	if len(l.waiting) == 0 {
		return nil
	}
	return l.waiting[0].confirmation.Done()
}

// onConfirmed finds the fates of the messages that are confirmed, or refused: many
// together if they come so.
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

// shift moves the first message to the fates. Its fate is known, or the channel has
// failed.
func (l *listener[T]) shift() {
	m := l.waiting[0]
	clear(l.waiting[:1])
	l.waiting = l.waiting[1:]
	err := l.fateOf(&m)
	if !errors.Is(err, errUnconfirmed) {
		l.session.arrived.CompareAndSwap(m.number-1, m.number)
		l.refusals.add(err != errRefused)
	}
	l.fates = append(l.fates, fate[T]{m.item, err})
	l.hasRoom = l.session.tracking.remove(&m) || l.hasRoom
}

func (l *listener[T]) fateOf(m *tracked[T]) error {
	s := l.session
	switch {
	case m.returned:
		return errReturned
	case m.confirmation.Wait(): // all are done when the channel is closed
		return nil
	case !s.ch.IsClosed(): // which the library reports as a refusal, too
		return errRefused
	}
	<-s.gone
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

// maxRefusal is after how long a channel is replaced on which every message is
// refused. When the leader of a quorum queue dies RabbitMQ 3.10 may go on to
// refuse what comes on channels that were opened before there was another leader.
const maxRefusal = 5 * time.Second

var errAllRefused = fmt.Errorf("amqpconn: all messages refused for %v", maxRefusal)

// refusals give a channel up when the broker refuses every message for long. The
// queue may be full instead: then another channel does no harm.
type refusals struct {
	giveUp func(error)
	since  time.Time // every message; zero: the last one was confirmed
}

// add adds what the broker said of a message.
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
