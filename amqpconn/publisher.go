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
// a goroutine of its own. If one of them fails, the connection is replaced.
type publisher struct {
	*keeper
	prepare  func(ctx context.Context, conn *amqp.Connection) error // before a connection is used; may be nil
	channels []channelUser

	blocked atomic.Pointer[string] // why the broker blocks the connection, or nil
}

// A publishConn is one connection of a publisher.
type publishConn struct {
	*amqp.Connection
	wire   *wire
	up     func()      // is called when all is set up
	failed func(error) // is called before the connection is closed for an error
}

// A channelUser uses a channel of a connection until it fails or ctx is done.
type channelUser interface {
	run(ctx context.Context, conn *publishConn) error
	wakeUp() // lets the writer try again now
}

func newPublisher(d *dialer, state *link.State, doing string, channels ...channelUser) *publisher {
	p := &publisher{channels: channels}
	p.keeper = newKeeper(d, state, doing, p.run)
	return p
}

// run uses a connection until it fails.
func (p *publisher) run(ctx context.Context, conn *amqp.Connection, w *wire, up func()) error {
	var listening sync.WaitGroup
	defer listening.Wait()
	defer closeSoon(conn) // closes what is listened to
	alarms := conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	listening.Go(func() { p.listenBlocked(alarms) })
	if p.prepare != nil {
		if err := p.prepare(ctx, conn); err != nil {
			return err
		}
	}
	return p.runChannels(ctx, &publishConn{Connection: conn, wire: w, up: up})
}

// runChannels uses the channels until one of them fails. It returns that one's error.
func (p *publisher) runChannels(ctx context.Context, conn *publishConn) (err error) {
	ctx, end := context.WithCancelCause(ctx)
	var once sync.Once
	conn.failed = func(cause error) {
		once.Do(func() {
			err = cause
			// The text alone: the code of this error says nothing about the other channels.
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

// wakeUp lets the writers try again now.
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
