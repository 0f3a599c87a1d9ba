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
	errNoAddress = errors.New("amqpconn: no reply queue: neither a property reply_to nor a string id")
	errTooLong   = fmt.Errorf("amqpconn: the reply queue's name is longer than %d bytes", maxAddress)
	errReserved  = fmt.Errorf("amqpconn: no reply queue: the id begins with %q, as no queue of a client does", reserved)
)

// replyQueue returns the queue to answer to. It comes from a stranger.
func (s *ServerConn) replyQueue(d *delivery, id string) (string, error) {
	queue := d.ReplyTo
	if queue == "" {
		queue = id
	}
	var err error
	count := &s.noAddress
	switch {
	case queue == "":
		err = errNoAddress
	case len(queue) > maxAddress:
		err = errTooLong
	case d.ReplyTo == "" && strings.HasPrefix(queue, reserved):
		err = errReserved
	case queue == s.queue:
		err, count = fmt.Errorf("amqpconn: refused to reply to %q: it is the queue being served", queue), &s.refused
	case s.directs.isFatal(queue):
		err, count = fmt.Errorf("amqpconn: refused to reply to %q: %w", queue, errFatalAddress), &s.refused
	}
	if err != nil && s.header.WantsAnswer() {
		count.Add(1)
	}
	return queue, err
}

// isDirect reports whether an address may be no queue, but something that the
// broker itself makes sense of, as it does of direct reply-to addresses.
func isDirect(queue string) bool {
	return strings.HasPrefix(queue, reserved) && !strings.HasPrefix(queue, generated)
}
