package amqpconn

import (
	"errors"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// BreakChannels makes the broker close the channels of a Conn with an error: each
// acknowledges a message that was never delivered on it.
func (c *ClientConn) BreakChannels() error {
	session := c.outlets[0].channel.current()
	return errors.Join(session.ch.Ack(noTag, false), c.receiver.current().ch.Ack(noTag, false))
}

// Confirms reports whether a channel in confirm mode is open.
func (c *ClientConn) Confirms() bool { return c.outlets[len(c.outlets)-1].channel.current() != nil }

// BreakChannels is like that of a ClientConn.
func (s *ServerConn) BreakChannels() error {
	session := s.replier.channel.current()
	return errors.Join(session.ch.Ack(noTag, false), s.consumer.current().ch.Ack(noTag, false))
}

// BreakPublisher makes the broker close the channel on which a Conn publishes, as
// BreakChannels does.
func (s *ServerConn) BreakPublisher() error {
	session := s.replier.channel.current()
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

// MaxDead is how many requests a DeadList keeps.
const MaxDead = maxDead

// SetPatience changes for how long a look waits for another one.
func (d *DeadList) SetPatience(patience time.Duration) { d.patience = patience }
