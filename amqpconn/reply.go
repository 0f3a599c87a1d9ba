package amqpconn

import (
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A reply is an answer on its way, with the request to acknowledge when it is sent.
type reply struct {
	destination  // without a queue there is no answer, only a request to acknowledge
	body         []byte
	until        time.Time // when the server gives up sending
	request      delivery
	acknowledged bool     // the request is acknowledged, or is about to be
	counted      bool     // ServerStats.Replies has the answer already
	late         lateness // used by a lateLane
}

// A lateness is about an answer that waits for its queue.
type lateness struct {
	next  time.Time     // when to try again
	delay time.Duration // how long to wait after that
	until time.Time     // when to give up
}

// message returns the message to publish for an answer.
func (r *reply) message() amqp.Publishing {
	return amqp.Publishing{
		ContentType:   "application/json",
		CorrelationId: r.correlation,
		Body:          r.body,
	}
}
