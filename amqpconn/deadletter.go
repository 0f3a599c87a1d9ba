package amqpconn

import (
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// deadSuffix follows the name of a queue in that of the queue of its dead requests, and
	// in that of the exchange that brings them there.
	deadSuffix = ".dead"

	// lockSuffix follows the name of a queue in that of the queue that a DeadList declares
	// as a lock.
	lockSuffix = deadSuffix + ".look"

	// maxDead is how many dead requests are kept.
	maxDead = 10_000

	// maxDeadName is how many bytes the name of a queue that keeps dead requests may have.
	maxDeadName = maxAddress - len(lockSuffix)
)

const (
	deadLetterExchange = "x-dead-letter-exchange" // the argument of a queue
	firstDeathReason   = "x-first-death-reason"   // the header of a message that left a queue
)

// deaths are the reasons for which a request is kept when it leaves its queue. "expired" is
// not one of them: each call that times out in the queue leaves it for this reason.
var deaths = [...]string{"rejected", "delivery_limit"}

// ensureDead creates what keeps the dead requests of a queue: an exchange and a queue of the
// same name. The exchange looks at the reason in the headers of a request, and drops the
// request if the reason is not one of deaths. The queue is a classic one: a look at a quorum
// queue counts as a delivery, so its delivery limit would end the request.
func ensureDead(conn *amqp.Connection, name string) error {
	dead := name + deadSuffix
	err := onChannel(conn, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(dead, amqp.ExchangeHeaders, true, false, false, false, nil)
	})
	if err != nil {
		return lacking(err, configure, dead)
	}
	keeps := Queue{Args: amqp.Table{
		"x-queue-type": "classic", // the default of the vhost may be another one
		"x-max-length": int64(maxDead),
		"x-overflow":   "drop-head",
	}}
	if err := keeps.ensure(conn, dead); err != nil {
		return err
	}
	return onChannel(conn, func(ch *amqp.Channel) error {
		for _, reason := range deaths {
			if err := ch.QueueBind(dead, reason, dead, false, amqp.Table{"x-match": "any-with-x", firstDeathReason: reason}); err != nil {
				return unbound(err, dead)
			}
		}
		return nil
	})
}

// unbound says why the queue of dead requests can't be bound.
func unbound(err error, dead string) error {
	switch {
	case isCode(err, amqp.PreconditionFailed):
		return fmt.Errorf("DeadLetter needs RabbitMQ 3.10 or newer: %w", err)
	case isCode(err, amqp.AccessRefused):
		return fmt.Errorf("the right to read or the right to write to %q is missing: %w", dead, err)
	}
	return err
}
