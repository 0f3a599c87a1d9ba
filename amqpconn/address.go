package amqpconn

import (
	"errors"
	"fmt"
	"strings"
)

const (
	// maxAddress is how long the name of a queue may be.
	maxAddress = 255

	// reserved begins the names that are the broker's to give.
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

// replyQueue returns the queue to answer a request to. It comes from a stranger.
// isFatal reports whether an address is known to end connections.
func replyQueue(d *delivery, id, served string, isFatal func(string) bool) (string, error) {
	queue := d.ReplyTo
	if queue == "" {
		queue = id
	}
	switch {
	case queue == "":
		return queue, errNoAddress
	case len(queue) > maxAddress:
		return queue, errTooLong
	case d.ReplyTo == "" && strings.HasPrefix(queue, reserved):
		return queue, errReserved
	case queue == served:
		return queue, fmt.Errorf("amqpconn: refused to reply to %q: it is the queue being served", queue)
	case isFatal(queue):
		return queue, fmt.Errorf("amqpconn: refused to reply to %q: %w", queue, errFatalAddress)
	}
	return queue, nil
}

// isDirect reports whether an address may be no queue, but something that the
// broker itself makes sense of, as it does of direct reply-to addresses.
func isDirect(queue string) bool {
	return strings.HasPrefix(queue, reserved) && !strings.HasPrefix(queue, generated)
}
