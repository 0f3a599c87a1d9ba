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
//	publisher     keep send's connection; its channel's listener calls:
//	  returned      hand an answer whose queue did not exist yet to lates
//	  confirmed     with ConfirmReplies, in place of returned: settle requests
//	lates         publish answers again whose queue did not exist yet
type replier struct {
	settler   *settler
	confirms  bool // the broker confirms each answer before its request is settled
	outbox    *link.Outbox[reply]
	publisher *publisher
	channel   *publishChannel[reply] // of the publisher
	directs   *directLane
	lates     *lateLane

	writing    sync.WaitGroup // the goroutine that runs send
	unreported sync.WaitGroup // the answers that confirmed has not seen yet
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

// put hands over a reply. It fails after close: the broker then delivers the request again,
// since nothing acknowledges it.
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
	again = work[:0:0] // work stays as it is, to be returned if release fails
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
	r.settler.replies.Add(int64(published)) // before a client can have one
	if session != nil && session.wire.release() != nil {
		r.settler.replies.Add(-int64(published))
		return work // some may have gone out: a client may get an answer twice
	}
	if published > 0 {
		session.written.add(published)
	}
	r.settler.acknowledge(done)
	return r.settler.unexpired(again)
}

// sendOne publishes an answer. Its message id tells the method returned whether the
// request's id is the name of the queue.
func sendOne(session *publishSession[reply], answer reply) error {
	msg := answer.message()
	if answer.queueIsID {
		msg.MessageId = answer.queue
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

// sendConfirmed publishes replies, and returns those to try again. The method confirmed
// settles their requests.
func (r *replier) sendConfirmed(work []reply) (again []reply) {
	session := r.usable()
	if session != nil {
		session.wire.hold()
		defer session.wire.release() // after an error the listener reports errUnconfirmed
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

// confirmed handles the fates of answers, and acknowledges the requests of those that are
// done with. Answers whose queue may still come go to lates. Those whose channel has ended
// are published again.
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

// retry puts an answer that may have been lost into the outbox again.
func (r *replier) retry(answer reply) {
	if r.outbox.Put(answer, 0) != nil {
		r.settler.abandon([]reply{answer})
	}
}

// returned handles an answer that came back because its queue does not exist.
func (r *replier) returned(back amqp.Return, _ *reply) {
	if back.MessageId == back.RoutingKey { // the queue may still come, see sendOne
		r.lates.add(reply{destination: destination{back.RoutingKey, true, back.CorrelationId}, body: back.Body, counted: true})
		return
	}
	r.settler.undeliverable(back.RoutingKey, back.Body, errReturned)
}

// discount corrects the counts after the broker has closed a channel for an error: it dropped
// the answers that came after the bad one. Which these are is not known, see tally.
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

// close makes put fail. lates stays open for the answers that still come back.
func (r *replier) close() {
	r.outbox.Close()
	r.directs.outbox.Close()
}

// flush waits until all answers are sent, or the time of each part is over. Answers may come
// back until the publisher has stopped: lates is the last.
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

// mayPublish returns an error if the right to publish answers is missing: the broker would
// close the channel for each answer. mayPublish publishes a message that must come back. A
// broker that is short of memory takes none: mayPublish then returns nil after dialTimeout.
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
	case <-returned: // no queue has such a name
		return ch.Close()
	case err := <-closed:
		return lacking(closeError(err), write, exchange)
	case <-time.After(dialTimeout): // the channel ends with the connection
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
