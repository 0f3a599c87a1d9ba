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

// An unconfirmed is a message that the broker has not confirmed.
//
// The library's stream of confirmations is of no use: a refusal of several
// messages also stands for those among them that were confirmed before.
type unconfirmed[T any] struct {
	confirm   *amqp.DeferredConfirmation
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

// maxRefusal is after how long a channel is replaced on which every message is
// refused. When the leader of a quorum queue dies RabbitMQ 3.10 may go on to
// refuse what comes on channels that were opened before there was another leader.
const maxRefusal = 5 * time.Second

var errRefused = fmt.Errorf("amqpconn: all messages refused for %v", maxRefusal)

// A listener listens to what the broker says of single messages on a channel. A
// message that is returned is confirmed, too, and the return comes first.
type listener[T any] struct {
	publisher  *publisher[T]
	session    *publishing[T]
	returns    <-chan amqp.Return
	waiting    []unconfirmed[T] // in the order in which they were published
	unroutable map[string]bool  // by message id, until confirmed
	fates      []fate[T]        // not told yet
}

// listen listens until the channel is closed.
func (p *publisher[T]) listen(s *publishing[T], returns <-chan amqp.Return) {
	l := &listener[T]{publisher: p, session: s, returns: returns, unroutable: make(map[string]bool)}
	for l.returns != nil {
		var confirmed <-chan struct{}
		if len(l.waiting) > 0 {
			confirmed = l.waiting[0].confirm.Done()
		}
		select {
		case r, ok := <-l.returns:
			l.noteReturn(r, ok)
		case <-s.added:
			l.waiting = append(l.waiting, s.take()...)
		case <-confirmed:
			l.drainReturns()
			l.note()
		}
		l.tell()
	}
	l.waiting = append(l.waiting, s.end()...)
	for len(l.waiting) > 0 {
		<-l.waiting[0].confirm.Done() // as all are when the channel is closed
		l.note()
	}
	l.tell()
}

func (l *listener[T]) noteReturn(r amqp.Return, ok bool) {
	if !ok {
		l.returns = nil
		return
	}
	if l.publisher.confirm {
		l.unroutable[r.MessageId] = true
	}
	if l.publisher.returned != nil {
		l.publisher.returned(r)
	}
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

// note notes the fate of the first message, whose confirmation is done.
func (l *listener[T]) note() {
	u := l.waiting[0]
	l.waiting = l.waiting[1:]
	f := fate[T]{item: u.item}
	switch taken := u.confirm.Acked(); {
	case taken && l.unroutable[u.messageID]:
		f.err = errUnroutable
	case taken:
	case l.session.ch.IsClosed(): // which the library takes for a refusal
		f.err = errUnknown
	default:
		f.err = errNotTaken
	}
	delete(l.unroutable, u.messageID)
	if f.err != errUnknown {
		l.session.noteConfirmation(f.err != errNotTaken)
	}
	l.fates = append(l.fates, f)
	l.session.confirming.Done()
}

// tell tells of fates, many together if they come so.
func (l *listener[T]) tell() {
	if len(l.fates) == 0 {
		return
	}
	if len(l.waiting) > 0 {
		select {
		case <-l.waiting[0].confirm.Done():
			return // the next is at hand
		default:
		}
	}
	l.publisher.settled(l.fates)
	l.fates = nil
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

// publishConfirmed is publish on a channel that confirms. After an error nothing
// is told of the message.
func (s *publishing[T]) publishConfirmed(queue string, msg amqp.Publishing, item T) error {
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
	s.messages.Add(1)
	s.confirming.Add(1)
	s.unconfirmed = append(s.unconfirmed, unconfirmed[T]{confirm, msg.MessageId, item})
	link.Signal(s.added)
	return nil
}

func (s *publishing[T]) take() []unconfirmed[T] {
	s.mu.Lock()
	defer s.mu.Unlock()
	taken := s.unconfirmed
	s.unconfirmed = nil
	return taken
}

// end is take, and lets nothing more be published.
func (s *publishing[T]) end() []unconfirmed[T] {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	return s.take()
}

// awaitConfirms waits a while for the fate of what was published, and lets nothing
// more be published.
func (s *publishing[T]) awaitConfirms(closed <-chan *amqp.Error) {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	all := make(chan struct{})
	go func() { // until the channel is closed, at the latest
		defer close(all)
		s.confirming.Wait()
	}()
	timer := time.NewTimer(sendGrace)
	defer timer.Stop()
	select {
	case <-all:
	case <-closed:
	case <-timer.C:
	}
}
