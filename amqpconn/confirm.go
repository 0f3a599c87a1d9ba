package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A tracked message is one whose fate is told: when the broker has confirmed it or,
// on a channel without confirms, when a check shows that the broker has taken it.
//
// The library's stream of confirmations is of no use: a refusal of several
// messages also stands for those among them that were confirmed before.
type tracked[T any] struct {
	item      T
	number    int64                      // of those on its channel
	confirm   *amqp.DeferredConfirmation // nil without confirms
	messageID string
	returned  bool
}

// A fate is what became of a message. err is nil if the broker took it over,
// else it is errUnroutable, errNotTaken, or errUnknown with a cause.
type fate[T any] struct {
	item T
	err  error
}

var (
	errUnroutable = errors.New("there is no such queue")
	errNotTaken   = errors.New("the broker refused it")
	errUnknown    = errors.New("the connection ended before the broker confirmed it")
)

// maxRefusal is after how long a channel is replaced on which every message is
// refused. When the leader of a quorum queue dies RabbitMQ 3.10 may go on to
// refuse what comes on channels that were opened before there was another leader.
const maxRefusal = 5 * time.Second

var errRefused = fmt.Errorf("amqpconn: all messages refused for %v", maxRefusal)

// A listener listens to what the broker says of single messages on a channel. A
// message that is returned is confirmed, too, and the return comes first.
type listener[T any] struct {
	publisher *publisher[T]
	session   *publishing[T]
	returns   <-chan amqp.Return
	waiting   []tracked[T] // in the order in which they were published
	fates     []fate[T]    // not told yet
}

// listen listens until the channel is closed.
func (p *publisher[T]) listen(s *publishing[T], returns <-chan amqp.Return) {
	l := &listener[T]{publisher: p, session: s, returns: returns}
	for l.returns != nil {
		select {
		case r, ok := <-l.returns:
			l.noteReturn(r, ok)
		case <-s.added:
			l.take()
		case <-l.confirmed():
			l.noteConfirmed()
		case <-s.checks.answered:
			l.noteTaken()
		}
		l.tell()
	}
	s.end()
	l.take()
	for len(l.waiting) > 0 {
		l.note()
	}
	l.tell()
}

// take takes what was published since the last time.
func (l *listener[T]) take() {
	s := l.session
	s.mu.Lock()
	defer s.mu.Unlock()
	l.waiting = append(l.waiting, s.unseen...)
	clear(s.unseen) // what is settled is not kept alive
	s.unseen = s.unseen[:0]
	if cap(s.unseen) > maxUnseen {
		s.unseen = nil
	}
}

// maxUnseen is for how many messages room is kept.
const maxUnseen = 1024

func (l *listener[T]) noteReturn(r amqp.Return, ok bool) {
	if !ok {
		l.returns = nil
		return
	}
	item := l.mark(r.MessageId)
	if l.publisher.returned != nil {
		l.publisher.returned(r, item)
	}
}

// mark notes that a message came back, if it is tracked, and returns it. It is one of
// the first.
func (l *listener[T]) mark(messageID string) *T {
	l.take() // it may have been published just now
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
			if l.noteReturn(r, ok); !ok {
				return
			}
		default:
			return
		}
	}
}

// confirmed receives when the first message is confirmed, or refused.
func (l *listener[T]) confirmed() <-chan struct{} {
	if len(l.waiting) == 0 || l.waiting[0].confirm == nil {
		return nil
	}
	return l.waiting[0].confirm.Done()
}

// noteConfirmed notes the fates of the messages that are confirmed: many together
// if they come so.
func (l *listener[T]) noteConfirmed() {
	for {
		select {
		case <-l.confirmed():
			l.drainReturns()
			l.note()
		default:
			return
		}
	}
}

// noteTaken notes the fates of the messages that a check shows to be taken.
func (l *listener[T]) noteTaken() {
	taken := l.session.checks.taken.Load()
	l.drainReturns()
	l.take()
	for len(l.waiting) > 0 && l.waiting[0].confirm == nil && l.waiting[0].number <= taken {
		l.note()
	}
}

// note notes the fate of the first message, which is known, or the channel has
// failed.
func (l *listener[T]) note() {
	m := l.waiting[0]
	clear(l.waiting[:1])
	l.waiting = l.waiting[1:]
	err := l.fateOf(&m)
	if m.confirm != nil && !errors.Is(err, errUnknown) {
		l.session.noteConfirmation(err != errNotTaken)
	}
	l.fates = append(l.fates, fate[T]{m.item, err})
	l.session.untold.Done()
}

func (l *listener[T]) fateOf(m *tracked[T]) error {
	s := l.session
	switch {
	case m.returned:
		return errUnroutable
	case m.confirm == nil && m.number <= s.checks.taken.Load():
		return nil
	case m.confirm != nil && m.confirm.Wait(): // all are done when the channel is closed
		return nil
	case m.confirm != nil && !s.ch.IsClosed(): // which the library takes for a refusal, too
		return errNotTaken
	}
	<-s.gone
	return fmt.Errorf("%w: %w", errUnknown, s.cause)
}

func (l *listener[T]) tell() {
	if len(l.fates) == 0 {
		return
	}
	l.publisher.settled(l.fates)
	clear(l.fates)
	l.fates = l.fates[:0]
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

// publishTracked is publish of a message whose fate is told. After an error nothing
// is told of it.
func (s *publishing[T]) publishTracked(queue string, msg amqp.Publishing, item T) error {
	if msg.MessageId == "" {
		msg.MessageId = strconv.FormatInt(s.messages.Load()+1, 10)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return amqp.ErrClosed
	}
	confirm, err := s.ch.PublishWithDeferredConfirmWithContext(context.Background(), "", queue, true, false, msg)
	if err != nil {
		return err
	}
	s.untold.Add(1)
	s.unseen = append(s.unseen, tracked[T]{item: item, number: s.messages.Add(1), confirm: confirm, messageID: msg.MessageId})
	link.Signal(s.added)
	return nil
}

// end lets nothing more be published that is tracked.
func (s *publishing[T]) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
}

// awaitConfirms waits a while for the fate of what was published, and lets nothing
// more be published.
func (s *publishing[T]) awaitConfirms(closed <-chan *amqp.Error) {
	s.end()
	all := make(chan struct{})
	go func() { // until the channel is closed, at the latest
		defer close(all)
		s.untold.Wait()
	}()
	timer := time.NewTimer(sendGrace)
	defer timer.Stop()
	select {
	case <-all:
	case <-closed:
	case <-timer.C:
	}
}
