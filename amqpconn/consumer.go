package amqpconn

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A consumer keeps a connection to consume requests on. A request can be acknowledged only
// on the channel that it came on: the delivery tags begin anew with each channel.
type consumer struct {
	*keeper
	sessions[consumeSession]
	queue     string
	opts      *ListenOptions
	runs      *runs
	givenBack atomic.Int64

	reading *consumeSession // the reading goroutine's own

	draining  chan struct{} // closed by drain
	drainOnce sync.Once
}

// A consumeSession is one connection of a consumer. Requests go from delivered to unread, on
// the consumer's goroutine, which alone sends to unread and closes it.
type consumeSession struct {
	ch        *amqp.Channel
	acks      *requestAcks
	tag       string               // names the consumer to the broker
	delivered <-chan amqp.Delivery // the library sends to it
	unread    chan delivery        // next receives from it; has room for the prefetch
}

var errQueueGone = errors.New("the queue was deleted, or the consumer cancelled")

func newConsumer(d *dialer, state *link.State, queue string, opts *ListenOptions, runs *runs) *consumer {
	c := &consumer{
		sessions: newSessions[consumeSession](),
		queue:    queue,
		opts:     opts,
		runs:     runs,
		draining: make(chan struct{}),
	}
	c.keeper = newKeeper(d, state, "consuming requests", c.run)
	return c
}

// run is the keeper's useFunc. In a drain it takes no more requests, but keeps the channel
// open: the running ones are acknowledged on it.
func (c *consumer) run(ctx context.Context, conn *amqp.Connection, w *wire, up func()) error {
	if c.isDraining() { // nothing can be acknowledged on a new connection
		<-ctx.Done()
		return ctx.Err()
	}
	if err := c.opts.Queue.ensure(conn, c.queue); err != nil {
		return err
	}
	s, err := c.open(conn, w)
	if err != nil {
		return err
	}
	connClosed := conn.NotifyClose(make(chan *amqp.Error, 1))
	chClosed := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	cancelled := s.ch.NotifyCancel(make(chan string, 1))
	c.set(s)
	defer c.set(nil)
	defer s.drop()
	up()
	delivered := s.delivered
	for {
		select {
		case d, ok := <-delivered:
			if ok {
				c.keep(ctx, s, d)
			} else { // another case says why
				delivered = nil
			}
		case <-c.draining:
			c.giveBackAll(s)
			return await(ctx, connClosed, chClosed)
		case <-cancelled:
			return errQueueGone
		case err := <-connClosed:
			return closeError(err)
		case err := <-chClosed:
			return closeError(err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// keep puts a request into unread, unless it already runs here. It may be read long after,
// so its deadline is set now.
func (c *consumer) keep(ctx context.Context, s *consumeSession, d amqp.Delivery) {
	request := delivery{d, s.acks, deadlineOf(d.Expiration)}
	if _, poison := request.isPoison(c.opts.MaxDeliveries); !poison && c.runs.joins(request) {
		return
	}
	// Also in a drain: what goes back before the consumer is cancelled is delivered to it again.
	select {
	case s.unread <- request:
		return
	default: // it is full only if the broker does not keep to the prefetch
	}
	select {
	case s.unread <- request:
	case <-c.draining:
		c.giveBack(d)
	case <-ctx.Done():
	}
}

// drop closes unread and drops what was not read: the broker delivers it again.
func (s *consumeSession) drop() {
	close(s.unread)
	for range s.unread {
	}
}

// open opens a channel and consumes the queue on it.
func (c *consumer) open(conn *amqp.Connection, w *wire) (*consumeSession, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Qos(c.opts.Prefetch, 0, false); err != nil {
		return nil, err
	}
	s := &consumeSession{
		ch:     ch,
		acks:   newRequestAcks(ch, w),
		tag:    link.NewName(),
		unread: make(chan delivery, c.opts.Prefetch),
	}
	s.delivered, err = ch.Consume(c.queue, s.tag, false, false, false, false, nil)
	return s, lacking(err, read, c.queue)
}

// next waits for a request, and reports whether there is one: the caller calls it again if
// not. It gives requests back in a drain. err is io.EOF once closed is closed; a request that
// is at hand may come before.
func (c *consumer) next(ctx context.Context, closed <-chan struct{}) (d delivery, ok bool, err error) {
	var unread <-chan delivery
	if c.reading != nil {
		unread = c.reading.unread
	}
	select {
	case d, ok := <-unread:
		switch {
		case !ok: // the connection is gone, another will come
			c.reading = nil
		case c.isDraining():
			c.giveBack(d.Delivery)
		default:
			return d, true, nil
		}
	case <-c.changed:
		c.reading = c.current()
	case <-ctx.Done():
	case <-closed:
		return d, false, io.EOF
	}
	return d, false, nil
}

// drain begins the drain: run cancels the consumer at the broker, and gives back what was
// delivered and not read. It may be called again.
func (c *consumer) drain() { c.drainOnce.Do(func() { close(c.draining) }) }

func (c *consumer) isDraining() bool {
	select {
	case <-c.draining:
		return true
	default:
		return false
	}
}

// giveBackAll cancels the consumer, and gives back all that is delivered and not read.
func (c *consumer) giveBackAll(s *consumeSession) {
	_ = s.ch.Cancel(s.tag, false)
	for d := range s.delivered {
		c.giveBack(d)
	}
	for {
		select {
		case d := <-s.unread:
			c.giveBack(d.Delivery)
		default:
			return
		}
	}
}

// giveBack returns a request that was not started to its queue. It uses nack: RabbitMQ 4.3,
// by its documentation, counts a reject towards the delivery limit of a quorum queue, and a
// nack not. RabbitMQ 3.10 counts both.
func (c *consumer) giveBack(d amqp.Delivery) {
	c.givenBack.Add(1)
	_ = d.Nack(false, true)
}
