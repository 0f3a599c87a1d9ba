package amqpconn

import (
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Queue says how to create a queue that is missing. A queue that exists is used as
// it is. The zero value creates a durable classic queue.
type Queue struct {
	// Plain creates a classic queue that is not durable. It is for programs that declare
	// their queue so, and fail if the queue exists with other attributes. It excludes
	// Quorum.
	Plain bool

	// Quorum creates a quorum queue: it is replicated and counts deliveries. Its
	// x-delivery-limit is that of Args, else the server's MaxDeliveries, or 20 for
	// DialOptions.Declare.
	Quorum bool

	// DeadLetter keeps the requests that are given up: see "Dead requests" in the
	// package's documentation. It creates, beside the queue calc, the queue calc.dead and
	// the exchange calc.dead, which brings them there; a DeadList shows them. It excludes
	// Plain, and an x-dead-letter-exchange in Args. Without Quorum only what programs in
	// other languages reject is kept: this package's servers reject nothing that comes from
	// a classic queue. It needs RabbitMQ 3.10.
	DeadLetter bool

	// deliveryLimit is the x-delivery-limit of a quorum queue, unless Args has one; none if
	// it is not positive. setDefaults sets it.
	deliveryLimit int

	// Args are further arguments of the queue, such as x-message-ttl, x-max-length or
	// x-dead-letter-exchange.
	Args amqp.Table
}

func checkQueue(queue string) error {
	switch {
	case queue == "":
		return errors.New("amqpconn: the queue has no name")
	case len(queue) > maxAddress:
		return fmt.Errorf("amqpconn: the queue's name is longer than %d bytes", maxAddress)
	}
	return nil
}

// check reports options that exclude each other, and arguments that AMQP can't carry.
func (q *Queue) check(queue string) error {
	if q.Plain && q.Quorum {
		return fmt.Errorf("amqpconn: queue %q: a quorum queue can't be plain", queue)
	}
	if err := q.Args.Validate(); err != nil {
		return fmt.Errorf("amqpconn: queue %q: %w", queue, err)
	}
	if q.DeadLetter {
		return q.checkDeadLetter(queue)
	}
	return nil
}

func (q *Queue) checkDeadLetter(queue string) error {
	switch _, other := q.Args[deadLetterExchange]; {
	case q.Plain:
		return fmt.Errorf("amqpconn: queue %q: a queue with DeadLetter can't be plain", queue)
	case other:
		return fmt.Errorf("amqpconn: queue %q: DeadLetter excludes an x-dead-letter-exchange in Args", queue)
	case len(queue) > maxDeadName:
		return fmt.Errorf("amqpconn: queue %q: with DeadLetter its name is longer than %d bytes", queue, maxDeadName)
	}
	return nil
}

// ensure creates the queue if it is missing. It first looks whether the queue is there, since
// the broker refuses to declare one with other attributes than it has. The broker closes the
// channel with each refusal, so each step has a channel of its own.
func (q *Queue) ensure(conn *amqp.Connection, name string) error {
	err := onChannel(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, false, false, false, false, nil)
		return err
	})
	if !isCode(err, amqp.NotFound) {
		return lacking(err, configure, name)
	}
	if q.DeadLetter { // first, so that nothing dies before it is kept
		if err := ensureDead(conn, name); err != nil {
			return err
		}
	}
	args := q.arguments(name)
	err = onChannel(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, !q.Plain, false, false, false, args)
		return err
	})
	if _, ok := args[deadLetterExchange]; ok && isCode(err, amqp.AccessRefused) {
		return fmt.Errorf("the right to configure %q is missing, or the right to read it or the right to write to its dead-letter exchange: %w", name, err)
	}
	return lacking(err, configure, name)
}

// arguments returns the arguments with which the queue is created.
func (q *Queue) arguments(name string) amqp.Table {
	args := amqp.Table{}
	for key, value := range q.Args {
		args[key] = value
	}
	if q.Quorum {
		args["x-queue-type"] = "quorum"
		if _, ok := args[deliveryLimit]; !ok && q.deliveryLimit > 0 {
			args[deliveryLimit] = int64(q.deliveryLimit)
		}
	}
	if q.DeadLetter {
		args[deadLetterExchange] = name + deadSuffix
	}
	return args
}

// deliveryLimit is the argument that says how often a quorum queue delivers a message again.
const deliveryLimit = "x-delivery-limit"

// onChannel runs f on a channel of its own.
func onChannel(conn *amqp.Connection, f func(*amqp.Channel) error) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	return f(ch)
}
