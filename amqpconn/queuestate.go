package amqpconn

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
)

// LookOptions are the options of Look. The zero value is useful, and so is a nil pointer to
// it.
type LookOptions struct {
	// URLs are the other nodes of a cluster. They are tried if the first node can't be
	// reached.
	URLs []string

	// Config configures the connection: TLS, SASL, vhost, heartbeat (10 s if 0), properties.
	// Its Recovery is not used. The end of a ctx does not wait for its Dial: if that returns a
	// connection later, the connection is closed.
	Config amqp.Config
}

// A QueueState is what RabbitMQ tells of a queue at one time, as Look returns it. AMQP does
// not tell how long requests wait, nor what consumers have taken.
type QueueState struct {
	Waiting   int `json:"waiting"`   // requests that no consumer has; a batch is one
	Consumers int `json:"consumers"` // each server is one

	// KeepsDead says whether the queue has a DeadList, and Dead how many requests are in
	// it. Requests that somebody looks at just now don't count.
	KeepsDead bool `json:"keeps_dead"`
	Dead      int  `json:"dead"`
}

// Look returns the state of a queue. It changes nothing, and costs RabbitMQ the same however
// many requests wait. It makes a connection of its own, and needs no right. url is as in Dial.
// The error matches jsonrpc2.ErrNoServer if there is no such queue.
func Look(ctx context.Context, url, queue string, opts *LookOptions) (state QueueState, err error) {
	if opts == nil {
		opts = &LookOptions{}
	}
	d, err := newDialer(url, opts.URLs, opts.Config, queue, "look")
	if err != nil {
		return state, err
	}
	err = d.connected(ctx, func(conn *amqp.Connection) (err error) {
		state, err = lookAt(conn, queue)
		return err
	})
	if err != nil {
		return QueueState{}, fmt.Errorf("amqpconn: a look at %s: %w", d.where(), err)
	}
	return state, nil
}

// connected calls f with a connection to the first node that can be reached. The end of ctx
// ends the connection, and so f.
func (d *dialer) connected(ctx context.Context, f func(*amqp.Connection) error) error {
	conn, err := d.dialFirst(ctx)
	if err == nil {
		closed := make(chan struct{})
		unwatch := context.AfterFunc(ctx, func() {
			defer close(closed)
			closeSoon(conn)
		})
		err = f(conn)
		if unwatch() {
			closeSoon(conn)
		} else {
			<-closed
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// lookAt asks the broker about the queue, and about the queue of its dead requests.
func lookAt(conn *amqp.Connection, queue string) (state QueueState, err error) {
	requests, err := declaredQueue(conn, queue)
	switch {
	case isCode(err, amqp.NotFound):
		return state, fmt.Errorf("%w: %w", jsonrpc2.ErrNoServer, errReturned)
	case err != nil:
		return state, err
	}
	state.Waiting, state.Consumers = requests.Messages, requests.Consumers
	if len(queue) > maxDeadName {
		return state, nil
	}
	dead, err := declaredQueue(conn, queue+deadSuffix)
	switch {
	case isCode(err, amqp.NotFound):
		return state, nil
	case err != nil:
		return state, err
	}
	state.KeepsDead, state.Dead = true, dead.Messages
	return state, nil
}

// declaredQueue returns what the broker tells of a queue.
func declaredQueue(conn *amqp.Connection, name string) (q amqp.Queue, err error) {
	err = onChannel(conn, func(ch *amqp.Channel) error {
		q, err = ch.QueueDeclarePassive(name, false, false, false, false, nil)
		return err
	})
	return q, err
}
