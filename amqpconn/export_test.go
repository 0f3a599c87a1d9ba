package amqpconn

import (
	"errors"

	amqp "github.com/rabbitmq/amqp091-go"
)

// BreakChannels has the broker close the channels of a Conn with an error, each
// for the acknowledgement of what it never delivered there.
func (c *ClientConn) BreakChannels() error {
	session, _ := c.outlet.publisher.current()
	return errors.Join(session.ch.Ack(noTag, false), c.receiver.current().ch.Ack(noTag, false))
}

// BreakChannels is like that of a ClientConn.
func (s *ServerConn) BreakChannels() error {
	session, _ := s.replier.publisher.current()
	return errors.Join(session.ch.Ack(noTag, false), s.consumer.current().ch.Ack(noTag, false))
}

// BreakPublisher has the broker close the channel on which a Conn publishes, as
// BreakChannels does.
func (s *ServerConn) BreakPublisher() error {
	session, _ := s.replier.publisher.current()
	if session == nil {
		return nil
	}
	if err := session.ch.Ack(noTag, false); err != amqp.ErrClosed { // else it is broken already
		return err
	}
	return nil
}

// noTag is the tag of no delivery.
const noTag = 1 << 40

// The defaults of the options.
const (
	DefaultPrefetch      = defaultPrefetch
	DefaultMaxDeliveries = defaultMaxDeliveries
)
