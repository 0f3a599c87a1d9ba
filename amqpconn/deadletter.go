package amqpconn

import (
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// deadSuffix ends the name of the queue of a queue's dead requests, and of the
	// exchange that brings them there.
	deadSuffix = ".dead"

	// lockSuffix ends the name of the queue that a DeadList declares for as long as it
	// looks.
	lockSuffix = deadSuffix + ".look"

	// maxDead is how many requests the queue keeps.
	maxDead = 10_000

	// maxDeadName is how long the name of a queue with dead requests may be.
	maxDeadName = maxAddress - len(lockSuffix)
)

const (
	deadLetterExchange = "x-dead-letter-exchange"
	firstDeathReason   = "x-first-death-reason"
)

// deaths are the reasons for which a request is kept when it leaves its queue. Of those that
// are not here, "expired" is what becomes of each call that times out in the queue.
var deaths = [...]string{"rejected", "delivery_limit"}

// ensureDead creates what keeps the dead requests of a queue. The exchange sees the reason in
// the headers of what the queue hands over, and drops what did not die of a server. The
// queue is a classic one: a look at a quorum queue counts as a delivery, and its delivery
// limit would end the request.
func ensureDead(conn *amqp.Connection, name string) error {
	dead := name + deadSuffix
	err := onChannel(conn, func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(dead, amqp.ExchangeHeaders, true, false, false, false, nil)
	})
	if err != nil {
		return lacking(err, configure, dead)
	}
	keeps := Queue{Args: amqp.Table{
		"x-queue-type": "classic", // which may not be the default
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
