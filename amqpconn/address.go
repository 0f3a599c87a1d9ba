package amqpconn

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// maxAddress is how many bytes AMQP allows for the name of a queue, and for a
	// correlation id.
	maxAddress = 255

	// reserved begins the names that only the broker gives.
	reserved = "amq."

	// generated begins the names of queues that were declared without a name.
	generated = "amq.gen-"
)

var (
	errNoAddress    = errors.New("amqpconn: no reply queue: neither a property reply_to nor a string id")
	errTooLong      = fmt.Errorf("amqpconn: the reply queue's name is longer than %d bytes", maxAddress)
	errReserved     = fmt.Errorf("amqpconn: no reply queue: the id begins with %q, as no queue of a client does", reserved)
	errFatalAddress = errors.New("the broker ends the connection of who publishes to it")
)

// A destination says where an answer goes.
type destination struct {
	queue       string // "" if the answer goes nowhere
	queueIsID   bool   // the request's id is the name of the queue
	correlation string // the property correlation_id of the answer
}

// destinationOf returns where the answer to a request goes: to the queue in the property
// reply_to, else to the one that the request's id names. A stranger chose both, so they are
// checked: an error says why no answer can go there. served is the queue that the request
// came from. isFatal reports whether an answer to a queue is known to end the connection.
func destinationOf(d *delivery, id, served string, isFatal func(queue string) bool) (destination, error) {
	to := destination{queue: d.ReplyTo, correlation: d.CorrelationId}
	if to.queue == "" {
		to.queue = id
	}
	to.queueIsID = to.queue == id
	if to.correlation == "" && len(id) <= maxAddress {
		to.correlation = id
	}
	var err error
	switch {
	case to.queue == "":
		err = errNoAddress
	case len(to.queue) > maxAddress:
		err = errTooLong
	case d.ReplyTo == "" && strings.HasPrefix(to.queue, reserved):
		err = errReserved
	case to.queue == served:
		err = fmt.Errorf("amqpconn: refused to reply to %q: it is the queue being served", to.queue)
	case isFatal(to.queue):
		err = fmt.Errorf("amqpconn: refused to reply to %q: %w", to.queue, errFatalAddress)
	}
	return to, err
}

// isDirect reports whether an address may be one that the broker itself interprets, such as
// a direct reply-to address, and not the name of a queue.
func isDirect(queue string) bool {
	return strings.HasPrefix(queue, reserved) && !strings.HasPrefix(queue, generated)
}
