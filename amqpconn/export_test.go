package amqpconn

import "errors"

// BreakChannels has the broker close the channels of a Conn with an error, each
// for the acknowledgement of what it never delivered there.
func BreakChannels(c *Conn) error {
	const unknown = 1 << 40
	var publisher *publisher
	var err error
	switch end := c.end.(type) {
	case *caller:
		publisher = end.publisher
		err = end.receiver.current().ch.Ack(unknown, false)
	case *server:
		publisher = end.publisher
		err = end.consumer.current().ch.Ack(unknown, false)
	}
	session, _ := publisher.current()
	return errors.Join(err, session.ch.Ack(unknown, false))
}
