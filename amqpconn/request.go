package amqpconn

import (
	"math"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A request is a jsonrpc2.Request on its way to the queue.
type request struct {
	*jsonrpc2.Request
	id          string // correlates the answer
	wantsAnswer bool
	until       time.Time // when the client gives up sending
	missed      bool      // its queue was missing: create the queue first

	// publishOne sets the following.
	outbox  *link.Requests[request]  // the outbox that the request was in
	session *publishSession[request] // on which it was published
	number  int64                    // its place among the messages of session, from 1
}

// isSingle reports whether the request is not a batch.
func (r *request) isSingle() bool { return len(r.Body) > 0 && r.Body[0] == '{' }

// isCall reports whether the request is a single call. Its caller waits for the answer, not
// for a confirm.
func (r *request) isCall() bool { return r.wantsAnswer && r.isSingle() }

// Size implements link.Sendable.
func (r request) Size() int { return len(r.Body) }

// TriedUntil implements link.Sendable.
func (r request) TriedUntil() time.Time { return r.until }

// message returns the message to publish for a request.
func (r *request) message(replyTo string, persistent bool) amqp.Publishing {
	msg := amqp.Publishing{
		ContentType:   "application/json",
		CorrelationId: r.id,
		MessageId:     r.id,
		Headers:       headersOf(r.Request),
		Body:          r.Body,
		Expiration:    expiration(r.Deadline()),
	}
	if r.missed {
		msg.MessageId = link.NewName() // the listener must tell it from the first try
	}
	if persistent {
		msg.DeliveryMode = amqp.Persistent
	}
	if r.wantsAnswer {
		msg.ReplyTo = replyTo
	}
	return msg
}

// maxExpiration is the longest expiration that RabbitMQ takes, in milliseconds. It closes
// the channel for a longer one.
const maxExpiration = math.MaxUint32

// expiration returns the property of that name: for how many milliseconds the broker keeps
// a request. It is at least 1, since 0 means a request that has to be delivered at once. It
// is "", for ever, without a deadline or with one that is too late for RabbitMQ.
func expiration(deadline time.Time) string {
	if deadline.IsZero() {
		return ""
	}
	milliseconds := max(time.Until(deadline).Milliseconds(), 1)
	if milliseconds > maxExpiration {
		return ""
	}
	return strconv.FormatInt(milliseconds, 10)
}
