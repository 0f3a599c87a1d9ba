package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A queueState is what the broker told of the request queue.
type queueState struct {
	err       error // why nothing is known
	missing   bool  // there is no such queue
	consumers int
	messages  int // that wait
}

// isUnserved reports whether the queue is known to have no consumer.
func (q queueState) isUnserved() bool { return q.err == nil && q.consumers == 0 }

// An inspector remembers what the queue was like at its last look, and looks again when that
// is too long ago. It looks on the receiver's connection, which no alarm blocks.
type inspector struct {
	receiver *receiver
	queue    string
	asker    *link.Asker       // runs look
	patience time.Duration     // lookTime, except in tests
	look     func() queueState // inspect, except in tests
	logger   *slog.Logger      // gets a line when looks begin to fail; nil for no line

	mu        sync.Mutex      // protects following, held during a look
	session   *receiveSession // on which the last look was
	asked     time.Time       // when the last look began, or was given up
	fresh     time.Duration   // how long state counts at least
	state     queueState      // what the last look found
	published int             // messages of this client since the last look
	logged    bool            // the log has a line since looks last worked
}

const (
	consumersFresh = time.Second            // how old a number of consumers may be
	messagesFresh  = 100 * time.Millisecond // how old a number of messages may be

	// lookTime is how long requests wait for a look at their queue.
	lookTime = 250 * time.Millisecond
)

var errNoAnswer = fmt.Errorf("amqpconn: no answer from the broker within %v", lookTime)

func newInspector(r *receiver, queue string, asker *link.Asker) *inspector {
	n := &inspector{receiver: r, queue: queue, asker: asker, patience: lookTime}
	n.look = n.inspect
	return n
}

// inspect asks the broker what the queue is like.
func (n *inspector) inspect() (state queueState) {
	s := n.receiver.current()
	if s == nil {
		return queueState{err: errConnecting}
	}
	state.err = onChannel(s.conn, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(n.queue, false, false, false, false, nil)
		state.consumers, state.messages = q.Consumers, q.Messages
		return err
	})
	if isCode(state.err, amqp.NotFound) {
		state.missing, state.err = true, nil
	}
	return state
}

// within returns what the queue was like, no longer ago than d. The messages that this client
// has published since are added. If the broker does not answer within lookTime, the state has
// an error, and counts for consumersFresh: the next requests do not wait for another look.
func (n *inspector) within(d time.Duration) queueState {
	n.mu.Lock()
	defer n.mu.Unlock()
	session := n.receiver.current()
	if n.session != session || time.Since(n.asked) >= max(d, n.fresh) {
		n.update(session)
	}
	state := n.state
	state.messages += n.published
	return state
}

// update looks at the queue. It is called with n.mu held.
func (n *inspector) update(session *receiveSession) {
	n.session, n.asked, n.published, n.fresh = session, time.Now(), 0, 0
	var ok bool
	if n.state, ok = ask(n.asker, n.patience, n.look); !ok {
		n.state, n.asked, n.fresh = queueState{err: errNoAnswer}, time.Now(), consumersFresh
	}
	switch {
	case n.state.err == nil:
		n.logged = false
	case n.logger != nil && !n.logged && session != nil && n.receiver.current() == session:
		// The keeper logs the end of a connection.
		n.logged = true
		n.logger.Warn("can't look at the queue, requests are sent all the same", slog.Any("error", n.state.err))
	}
}

// add counts messages that were published since the last look.
func (n *inspector) add(messages int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.published += messages
}

// ask asks the broker a question, and waits for the answer for so long.
func ask[T any](asker *link.Asker, patience time.Duration, question func() T) (answer T, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return link.Ask(ctx, asker, question)
}

// unserved says why nobody takes requests from a queue that isUnserved.
func (q queueState) unserved() error {
	if q.missing {
		return errReturned
	}
	return errors.New("it has no consumer")
}

// describe says what may be the reason for a timeout.
func (q queueState) describe(name string) error {
	switch {
	case q.missing:
		return fmt.Errorf("queue %q does not exist", name)
	case q.consumers == 0:
		return fmt.Errorf("queue %q has no consumer; messages waiting: %d", name, q.messages)
	}
	return fmt.Errorf("consumers of queue %q: %d; messages waiting: %d", name, q.consumers, q.messages)
}
