package amqpconn

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A publisher keeps a connection to publish on. Its channels use the connection, each on
// a goroutine of its own. If one of them fails, the publisher replaces the connection.
type publisher struct {
	*keeper
	prepare  func(ctx context.Context, conn *amqp.Connection) error // is called with each new connection; may be nil
	channels []channelUser

	blocked atomic.Pointer[string] // why the broker blocks the connection, or nil
}

// A publishConn is one connection of a publisher.
type publishConn struct {
	*amqp.Connection
	wire   *wire
	up     func()      // a channel calls it when all is set up
	failed func(error) // a channel that fails calls it before it closes the connection
}

// A channelUser uses a channel of a connection. It is a publishChannel.
type channelUser interface {
	run(ctx context.Context, conn *publishConn) error // until the channel fails or ctx is done
	wakeUp()                                          // makes the writer try again now
}

func newPublisher(d *dialer, state *link.State, doing string, channels ...channelUser) *publisher {
	p := &publisher{channels: channels}
	p.keeper = newKeeper(d, state, doing, p.run)
	return p
}

// run is the keeper's useFunc.
func (p *publisher) run(ctx context.Context, conn *amqp.Connection, w *wire, up func()) error {
	var listening sync.WaitGroup
	defer listening.Wait()
	defer closeSoon(conn) // ends listenBlocked
	alarms := conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	listening.Go(func() { p.listenBlocked(alarms) })
	if p.prepare != nil {
		if err := p.prepare(ctx, conn); err != nil {
			return err
		}
	}
	return p.runChannels(ctx, &publishConn{Connection: conn, wire: w, up: up})
}

// runChannels runs the channels until one of them fails, and ends the others then. It
// returns the error of the first.
func (p *publisher) runChannels(ctx context.Context, conn *publishConn) (err error) {
	ctx, end := context.WithCancelCause(ctx)
	var once sync.Once
	conn.failed = func(cause error) {
		once.Do(func() {
			err = cause
			// With the text alone: the code of cause is not about the other channels.
			end(fmt.Errorf("another channel of the connection failed: %v", cause))
		})
	}
	var running sync.WaitGroup
	for _, channel := range p.channels {
		running.Go(func() { conn.failed(channel.run(ctx, conn)) })
	}
	running.Wait()
	return err
}

// wakeUp makes the writers try again now.
func (p *publisher) wakeUp() {
	for _, channel := range p.channels {
		channel.wakeUp()
	}
}

// blockage returns why the broker blocks the connection, nil if it does not.
func (p *publisher) blockage() error {
	if reason := p.blocked.Load(); reason != nil {
		return fmt.Errorf("the broker blocks publishers: %s", *reason)
	}
	return nil
}

// listenBlocked keeps blocked up to date until the connection ends.
func (p *publisher) listenBlocked(alarms <-chan amqp.Blocking) {
	for b := range alarms {
		if b.Active {
			p.blocked.Store(&b.Reason)
			continue
		}
		p.blocked.Store(nil)
		p.wakeUp()
	}
	p.blocked.Store(nil)
}
