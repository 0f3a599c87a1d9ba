package amqpconn

import (
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
)

// BreakChannels has the broker close the channels of a Conn with an error, each
// for the acknowledgement of what it never delivered there.
func BreakChannels(c *Conn) error {
	const unknown = 1 << 40
	var err error
	var ch *amqp.Channel // of the publisher
	switch end := c.end.(type) {
	case *caller:
		session, _ := end.publisher.current()
		ch = session.ch
		err = end.receiver.current().ch.Ack(unknown, false)
	case *server:
		session, _ := end.publisher.current()
		ch = session.ch
		err = end.consumer.current().ch.Ack(unknown, false)
	}
	return errors.Join(err, ch.Ack(unknown, false))
}

// BreakPublisher has the broker close the channel on which a Conn publishes, as
// BreakChannels does.
func BreakPublisher(c *Conn) error {
	session, _ := c.end.(*server).publisher.current()
	if session == nil {
		return nil
	}
	return session.ch.Ack(1<<40, false)
}
