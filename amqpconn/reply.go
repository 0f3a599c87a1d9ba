package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A reply is an answer on its way, and the request to acknowledge behind it.
type reply struct {
	queue       string // "": there is none, only to acknowledge
	named       bool   // queue is the request's id
	correlation string
	body        []byte
	until       time.Time // tried for so long
	request     delivery
	settled     bool // the request is acknowledged
	counted     bool // in Replies
	late        lateness
}

func (r *reply) publishing() amqp.Publishing {
	return amqp.Publishing{
		ContentType:   "application/json",
		CorrelationId: r.correlation,
		Body:          r.body,
	}
}

// hand hands over a reply. One that comes after Close leaves its request
// unacknowledged, to be delivered again.
func (s *ServerConn) hand(r reply) error {
	if isDirect(r.queue) {
		return s.directs.put(r)
	}
	return s.out.Put(r, 0)
}

// send publishes all replies and acknowledges their requests. It returns those
// to try again.
func (s *ServerConn) send(work []reply) (again []reply) {
	if s.opts.ConfirmReplies {
		return s.sendConfirmed(work)
	}
	var done []reply
	session, _ := s.publisher.current()
	if session != nil {
		session.wire.hold()
	}
	again = work[:0:0]
	published := 0
	for _, r := range work {
		switch {
		case r.queue == "":
			done = append(done, r)
		case session != nil && s.sendOne(session, r) == nil:
			published++
			done = append(done, r)
		default:
			again = append(again, r)
		}
	}
	s.replies.Add(int64(published)) // before anybody has one
	if session != nil && session.wire.release() != nil {
		s.replies.Add(-int64(published))
		return work // perhaps some went out; an answer may come twice
	}
	if published > 0 {
		session.written.add(published)
	}
	s.settle(done)
	return s.patient(again)
}

func (s *ServerConn) sendOne(session *publishing[reply], r reply) error {
	msg := r.publishing()
	if r.named {
		msg.MessageId = r.queue // for returned to see
	}
	return session.publish(r.queue, msg)
}

// sendConfirmed publishes replies whose requests are acknowledged by confirmed.
func (s *ServerConn) sendConfirmed(work []reply) (again []reply) {
	session, _ := s.publisher.current()
	if session != nil {
		session.wire.hold()
		defer session.wire.release() // what fails then has an unknown fate
	}
	var done []reply
	for _, r := range work {
		switch {
		case r.queue == "":
			done = append(done, r)
		case session == nil || s.sendOneConfirmed(session, r) != nil:
			again = append(again, r)
		}
	}
	s.settle(done)
	return s.patient(again)
}

func (s *ServerConn) sendOneConfirmed(session *publishing[reply], r reply) error {
	s.confirming.Add(1)
	err := session.publishTracked(r.queue, r.publishing(), r)
	if err != nil {
		s.confirming.Done()
	}
	return err
}

// confirmed is told what became of answers.
func (s *ServerConn) confirmed(fates []fate[reply]) {
	var done []reply
	for _, f := range fates {
		r := f.item
		switch {
		case f.err == nil:
			s.replies.Add(1)
			done = append(done, r)
		case errors.Is(f.err, errUnroutable) && r.named:
			s.lates.add(r)
			done = append(done, r)
		case errors.Is(f.err, errUnknown):
			s.retry(r)
		default:
			s.undeliverable(r.queue, r.body, f.err)
			done = append(done, r)
		}
	}
	s.settle(done)
	s.confirming.Add(-len(fates))
}

// retry has an answer published that may have been lost.
func (s *ServerConn) retry(r reply) {
	if s.out.Put(r, 0) != nil {
		s.abandon([]reply{r})
	}
}

// abandon tells of the answers that Close can't send. Their requests are delivered
// again, but for those that are acknowledged.
func (s *ServerConn) abandon(left []reply) {
	for _, r := range left {
		if r.queue == "" {
			continue
		}
		s.unsent.Add(1)
		s.undelivered.Add(1)
		s.lost(r.body, fmt.Errorf("amqpconn: answer to %q not known to be published before the end: %w", r.queue, s.cause()))
	}
}

// patient drops the answers that have waited for long enough, and returns the
// others.
func (s *ServerConn) patient(work []reply) (again []reply) {
	again = work[:0]
	var late []reply
	now := time.Now()
	for _, r := range work {
		if now.Before(r.until) {
			again = append(again, r)
			continue
		}
		s.undelivered.Add(1)
		s.lost(r.body, fmt.Errorf("amqpconn: answer to %q not published within %v: %w", r.queue, replyPatience, s.cause()))
		late = append(late, r)
	}
	if s.opts.ConfirmReplies {
		s.giveBack(late)
	} else {
		s.settle(late)
	}
	return again
}

// cause returns why answers can't be published.
func (s *ServerConn) cause() error {
	if err := s.state.Cause(); err != nil {
		return err
	}
	return errors.New("the broker takes none")
}

// settle acknowledges the requests of answers that are done with.
func (s *ServerConn) settle(done []reply) {
	requests := make([]delivery, 0, len(done))
	for _, r := range done {
		if !r.settled {
			requests = append(requests, r.request)
		}
	}
	settle(requests)
	s.leave(len(requests))
}

// giveBack returns the requests of answers that could not be published.
func (s *ServerConn) giveBack(failed []reply) {
	places := 0
	for _, r := range failed {
		if r.settled {
			continue
		}
		places++
		if r.request.session != nil {
			r.request.session.requeue(r.request)
		}
	}
	s.leave(places)
}

// leave frees places.
func (s *ServerConn) leave(places int) {
	for range places {
		<-s.places
	}
}

// returned sees to an answer whose queue is not there.
func (s *ServerConn) returned(r amqp.Return, _ *reply) {
	if r.MessageId == r.RoutingKey { // it is the request's id
		s.lates.add(reply{queue: r.RoutingKey, named: true, correlation: r.CorrelationId, body: r.Body, counted: true})
		return
	}
	s.undeliverable(r.RoutingKey, r.Body, errUnroutable)
}

// undeliverable notes an answer that the broker did not take.
func (s *ServerConn) undeliverable(queue string, body []byte, err error) {
	s.undelivered.Add(1)
	s.lost(body, fmt.Errorf("amqpconn: nobody waits for the answer to %q: %w", queue, err))
}

// discount takes back what was counted of a channel that the broker closed for an
// error: it dropped what came behind that.
func (s *ServerConn) discount(session *publishing[reply], err error) {
	lost := session.written.recent()
	if lost == 0 || !isException(err) {
		return
	}
	s.replies.Add(-int64(lost))
	s.undelivered.Add(int64(lost))
	s.state.Logger.Error("answers were lost with their channel, their requests are acknowledged",
		slog.Int("answers, at most", lost), slog.Any("error", err))
}

// mayPublish returns an error if answers can't be published: without the right to
// write, the broker would close the channel and drop each. A broker that is short
// of memory does not say, and is not waited for.
func mayPublish(ctx context.Context, conn *amqp.Connection) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	returned := ch.NotifyReturn(make(chan amqp.Return, 1))
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	if err := ch.PublishWithContext(ctx, "", link.NewName(), true, false, amqp.Publishing{}); err != nil {
		return err
	}
	select {
	case <-returned: // by its name no such queue exists
		return ch.Close()
	case err := <-closed:
		return lacking(closeError(err), write, exchange)
	case <-time.After(dialTimeout): // the channel goes with its connection
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
