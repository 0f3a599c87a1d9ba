package amqpconn

import (
	"math"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A request is on its way to the queue.
type request struct {
	*jsonrpc2.Request
	id          string // correlates the answer
	wantsAnswer bool
	until       time.Time // tried for so long
	missed      bool      // its queue was missing, and is to be created first

	outbox  *link.Requests[request]  // that it was put into
	session *publishSession[request] // on which it was published
	number  int64                    // of those on it
}

// isSingle reports whether it is no batch.
func (r *request) isSingle() bool { return len(r.Body) > 0 && r.Body[0] == '{' }

// isCall reports whether it is one call, of which nobody asks whether the broker has it.
func (r *request) isCall() bool { return r.wantsAnswer && r.isSingle() }

// Size implements link.Sendable.
func (r request) Size() int { return len(r.Body) }

// TriedUntil implements link.Sendable.
func (r request) TriedUntil() time.Time { return r.until }

// message returns what is published of a request.
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
		msg.MessageId = link.NewName() // for the listener, to which it is another message
	}
	if persistent {
		msg.DeliveryMode = amqp.Persistent
	}
	if r.wantsAnswer {
		msg.ReplyTo = replyTo
	}
	return msg
}

// maxExpiration is the longest that RabbitMQ takes, in milliseconds. It closes the
// channel for a longer one.
const maxExpiration = math.MaxUint32

// expiration is how long the broker keeps a request: in milliseconds, for as
// long as its caller waits. For ever if that is longer than can be said.
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
