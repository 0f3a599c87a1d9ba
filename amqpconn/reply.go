package amqpconn

import (
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A reply is an answer on its way, and the request to acknowledge behind it.
type reply struct {
	destination  // to no queue: only to acknowledge
	body         []byte
	until        time.Time // tried for so long
	request      delivery
	acknowledged bool // request is
	counted      bool // in Replies
	late         lateness
}

// A lateness says of an answer that waits for its queue when to try again, how
// long to wait after that, and when to give up.
type lateness struct {
	next  time.Time
	delay time.Duration
	until time.Time
}

// message returns what is published of an answer.
func (r *reply) message() amqp.Publishing {
	return amqp.Publishing{
		ContentType:   "application/json",
		CorrelationId: r.correlation,
		Body:          r.body,
	}
}
