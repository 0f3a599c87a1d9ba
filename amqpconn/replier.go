package amqpconn

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A replier publishes the answers of a server and settles their requests.
//
//	put           on any goroutine: hand an answer to one of these
//	  send          publish all answers that wait, acknowledge their requests
//	  directs       the same for direct reply-to addresses
//	publisher     keep send's connection
//	  returned      hand an answer whose queue did not exist yet to lates
//	  confirmed     with ConfirmReplies: acknowledge the requests of answers
//	lates         publish answers again whose queue did not exist yet
type replier struct {
	settler   *settler
	confirms  bool // each answer
	outbox    *link.Outbox[reply]
	publisher *publisher
	channel   *publishChannel[reply] // of the publisher
	directs   *directLane
	lates     *lateLane

	writing    sync.WaitGroup
	unreported sync.WaitGroup // the answers whose fate is not reported
}

func newReplier(d *dialer, s *settler, confirms bool) *replier {
	r := &replier{
		settler:  s,
		confirms: confirms,
		outbox:   link.NewOutbox[reply](nil), // the prefetch limits it
		channel:  newPublishChannel[reply](confirms, false),
		directs:  newDirectLane(d, s),
		lates:    newLateLane(d, s),
	}
	r.publisher = newPublisher(d, s.state, "publishing answers", r.channel)
	r.publisher.prepare = mayPublish
	if confirms {
		r.channel.report = r.confirmed
	} else {
		r.channel.returned, r.channel.ended = r.returned, r.discount
	}
	return r
}

// start starts the goroutines.
func (r *replier) start() {
	r.publisher.start()
	r.writing.Go(func() {
		r.settler.abandon(r.outbox.Run(link.Writer[reply]{
			Send:     r.send,
			Kick:     r.channel.kick(),
			MaxPause: maxPause,
			Grace:    sendGrace,
		}))
	})
	r.directs.start()
	r.lates.start()
}

// put hands over a reply. One that comes after close leaves its request
// unacknowledged, to be delivered again.
func (r *replier) put(answer reply) error {
	if isDirect(answer.queue) {
		return r.directs.put(answer)
	}
	return r.outbox.Put(answer, 0)
}

// send publishes all replies and acknowledges their requests. It returns those
// to try again.
func (r *replier) send(work []reply) (again []reply) {
	if r.confirms {
		return r.sendConfirmed(work)
	}
	var done []reply
	session := r.usable()
	if session != nil {
		session.wire.hold()
	}
	again = work[:0:0]
	published := 0
	for _, answer := range work {
		switch {
		case answer.queue == "":
			done = append(done, answer)
		case session != nil && sendOne(session, answer) == nil:
			published++
			done = append(done, answer)
		default:
			again = append(again, answer)
		}
	}
	r.settler.replies.Add(int64(published)) // before anybody has one
	if session != nil && session.wire.release() != nil {
		r.settler.replies.Add(-int64(published))
		return work // perhaps some went out; an answer may come twice
	}
	if published > 0 {
		session.written.add(published)
	}
	r.settler.acknowledge(done)
	return r.settler.unexpired(again)
}

func sendOne(session *publishSession[reply], answer reply) error {
	msg := answer.message()
	if answer.queueIsID {
		msg.MessageId = answer.queue // for returned to see
	}
	return session.publish(answer.queue, msg, answer)
}

// usable returns the channel to publish on, nil if there is none or the broker blocks it.
func (r *replier) usable() *publishSession[reply] {
	if r.publisher.blockage() != nil {
		return nil
	}
	return r.channel.current()
}

// impairment returns what keeps answers from being published, nil if nothing does.
func (r *replier) impairment() error {
	if r.channel.current() == nil {
		return errConnecting
	}
	return r.publisher.blockage()
}

// sendConfirmed publishes replies whose requests are acknowledged by confirmed.
func (r *replier) sendConfirmed(work []reply) (again []reply) {
	session := r.usable()
	if session != nil {
		session.wire.hold()
		defer session.wire.release() // what fails then has an unknown fate
	}
	var done []reply
	for _, answer := range work {
		switch {
		case answer.queue == "":
			done = append(done, answer)
		case session == nil || r.sendOneConfirmed(session, answer) != nil:
			again = append(again, answer)
		}
	}
	r.settler.acknowledge(done)
	return r.settler.unexpired(again)
}

func (r *replier) sendOneConfirmed(session *publishSession[reply], answer reply) error {
	r.unreported.Add(1)
	err := session.publish(answer.queue, answer.message(), answer)
	if err != nil {
		r.unreported.Done()
	}
	return err
}

// confirmed sees to answers that are confirmed, returned or refused, or whose channel
// has ended.
func (r *replier) confirmed(fates []fate[reply]) {
	var done []reply
	for _, f := range fates {
		answer := f.item
		switch {
		case f.err == nil:
			r.settler.replies.Add(1)
			done = append(done, answer)
		case errors.Is(f.err, errReturned) && answer.queueIsID:
			r.lates.add(answer)
			done = append(done, answer)
		case errors.Is(f.err, errUnconfirmed):
			r.retry(answer)
		default:
			r.settler.undeliverable(answer.queue, answer.body, f.err)
			done = append(done, answer)
		}
	}
	r.settler.acknowledge(done)
	r.unreported.Add(-len(fates))
}

// retry publishes an answer again that may have been lost.
func (r *replier) retry(answer reply) {
	if r.outbox.Put(answer, 0) != nil {
		r.settler.abandon([]reply{answer})
	}
}

// returned sees to an answer whose queue is not there.
func (r *replier) returned(back amqp.Return, _ *reply) {
	if back.MessageId == back.RoutingKey { // it is the request's id
		r.lates.add(reply{destination: destination{back.RoutingKey, true, back.CorrelationId}, body: back.Body, counted: true})
		return
	}
	r.settler.undeliverable(back.RoutingKey, back.Body, errReturned)
}

// discount takes back what was counted of a channel that the broker closed for an
// error: it dropped what came behind that.
func (r *replier) discount(session *publishSession[reply], err error) {
	dropped := session.written.recent()
	if dropped == 0 || !isException(err) {
		return
	}
	r.settler.replies.Add(-int64(dropped))
	r.settler.undelivered.Add(int64(dropped))
	r.settler.state.Logger.Error("answers were lost with their channel, their requests are acknowledged",
		slog.Int("answers, at most", dropped), slog.Any("error", err))
}

// close lets put fail.
func (r *replier) close() {
	r.outbox.Close()
	r.directs.outbox.Close()
}

// flush waits until all answers are sent, or there is no more time for that.
// Answers may come back until the publisher has stopped.
func (r *replier) flush() {
	r.writing.Wait()
	r.unreported.Wait()
	r.publisher.stop()
	r.publisher.wait()
	r.directs.flush()
	r.lates.flush()
}

func (r *replier) stop() {
	r.publisher.stop()
	r.directs.stop()
	r.lates.stop()
}

func (r *replier) wait() {
	r.publisher.wait()
	r.directs.wait()
	r.lates.wait()
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
