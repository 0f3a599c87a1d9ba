package amqpconn

import (
	"errors"
	"time"
)

// BreakChannels makes the broker close the channels of a Conn with an error: each
// acknowledges a message that was never delivered on it.
func (c *ClientConn) BreakChannels() error {
	session := c.outlets[0].channel.current()
	return errors.Join(session.ch.Ack(noTag, false), c.receiver.current().ch.Ack(noTag, false))
}

// KnowsArrived reports whether all calls are known to have arrived at the broker.
func (c *ClientConn) KnowsArrived() bool {
	session := c.outlets[0].channel.current()
	return session != nil && session.arrived.Load() == session.published.Load()
}

// Changes returns how often a connection has begun to fail, or to work again.
func (c *ClientConn) Changes() int64 { return c.state.Changes.Load() }

// Changes is like that of a ClientConn.
func (s *ServerConn) Changes() int64 { return s.state.Changes.Load() }

// SetLookTime changes for how long requests wait for a look at their queue. Call it before the
// first request.
func (c *ClientConn) SetLookTime(d time.Duration) {
	for _, o := range c.outlets {
		o.seen.patience = d
	}
}

// AwaitAcks waits until the broker has handled the acknowledgements that were sent.
func (s *ServerConn) AwaitAcks() error {
	return s.consumer.current().ch.Qos(s.opts.Prefetch, 0, false)
}

// Confirms reports whether a channel in confirm mode is open.
func (c *ClientConn) Confirms() bool { return c.outlets[len(c.outlets)-1].channel.current() != nil }

// BreakChannels is like that of a ClientConn.
func (s *ServerConn) BreakChannels() error {
	session := s.replier.channel.current()
	return errors.Join(session.ch.Ack(noTag, false), s.consumer.current().ch.Ack(noTag, false))
}

// BreakPublisher makes the broker close the channel on which a Conn publishes, as
// BreakChannels does, unless it is broken already.
func (s *ServerConn) BreakPublisher() {
	if session := s.replier.channel.current(); session != nil {
		_ = session.ch.Ack(noTag, false)
	}
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
