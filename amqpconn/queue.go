package amqpconn

import (
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A Queue says how to create a queue that is missing. A queue that exists is used as
// it is. The zero value creates a durable classic queue.
type Queue struct {
	// Plain creates a classic queue that is not durable. Some programs declare their
	// queue so, and fail if it exists with other attributes. It excludes Quorum.
	Plain bool

	// Quorum creates a quorum queue: it is replicated and counts deliveries. Its
	// x-delivery-limit is that of Args, else the server's MaxDeliveries, or 20 for
	// DialOptions.Declare.
	Quorum bool

	deliveryLimit int // none if not positive

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

func (q *Queue) check(queue string) error {
	if q.Plain && q.Quorum {
		return fmt.Errorf("amqpconn: queue %q: a quorum queue can't be plain", queue)
	}
	if err := q.Args.Validate(); err != nil {
		return fmt.Errorf("amqpconn: queue %q: %w", queue, err)
	}
	return nil
}

// ensure creates the queue where it is missing. A queue that is there is used
// as it is: a declaration with other attributes than it has would be refused.
// The broker closes the channel with each refusal, so that each try has its own.
func (q *Queue) ensure(conn *amqp.Connection, name string) error {
	err := onChannel(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(name, false, false, false, false, nil)
		return err
	})
	if !isCode(err, amqp.NotFound) {
		return lacking(err, configure, name)
	}
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
	err = onChannel(conn, func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(name, !q.Plain, false, false, false, args)
		return err
	})
	if _, ok := args["x-dead-letter-exchange"]; ok && isCode(err, amqp.AccessRefused) {
		return fmt.Errorf("the right to configure %q is missing, or the right to read it or the right to write to its dead-letter exchange: %w", name, err)
	}
	return lacking(err, configure, name)
}

// deliveryLimit is the argument of a queue that says how often it delivers a
// message again.
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
