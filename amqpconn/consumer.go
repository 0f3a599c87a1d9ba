package amqpconn

import (
	"context"
	"errors"
	"io"
	"sync"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A consumer keeps a connection on which requests are consumed. Its requests
// can be acknowledged on no other: their tags begin anew with each.
type consumer struct {
	keeper
	server *server

	reading *subscription // the reading goroutine's own
	changed chan struct{} // holds one if there is another subscription

	mu           sync.Mutex // protects following
	subscription *subscription
	draining     bool
	turned       chan struct{} // closed when draining changes
}

// A subscription is what a consuming consumes between two drains.
type subscription struct {
	*consuming
	tag        string
	deliveries <-chan amqp.Delivery
}

// A consuming is one connection of a consumer.
type consuming struct {
	ch   *amqp.Channel
	wire *wire

	mu      sync.Mutex // protects following
	settled uint64     // all up to this one are
	ahead   map[uint64]bool
}

// A delivery is a request, and the connection it came on; nil if it is
// acknowledged.
type delivery struct {
	amqp.Delivery
	session *consuming
}

var errQueueGone = errors.New("the queue was deleted, or the consumer cancelled")

func newConsumer(s *server, d *dialer) *consumer {
	c := &consumer{server: s, changed: make(chan struct{}, 1), turned: make(chan struct{})}
	c.dialer, c.state, c.doing = d, s.state, "consuming requests"
	c.use = c.run
	return c
}

// run has the queue consumed until the connection fails, but for drains: in one
// the connection is kept, for the running calls to be acknowledged on it.
func (c *consumer) run(ctx context.Context, conn *amqp.Connection, w *wire, up func()) error {
	s, err := c.open(conn, w)
	if err != nil {
		return err
	}
	connClosed := conn.NotifyClose(make(chan *amqp.Error, 1))
	chClosed := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	cancelled := s.ch.NotifyCancel(make(chan string, 1))
	defer c.set(nil)
	for {
		var sub *subscription
		draining, turned := c.drains()
		if !draining {
			if sub, err = c.subscribe(conn, s); err != nil {
				return err
			}
			c.set(sub)
		}
		up()
		select {
		case <-turned:
			if sub != nil {
				c.giveBack(sub)
			}
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

func (c *consumer) open(conn *amqp.Connection, w *wire) (*consuming, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	s := &consuming{ch: ch, wire: w, ahead: make(map[uint64]bool)}
	return s, ch.Qos(c.server.opts.Prefetch, 0, false)
}

func (c *consumer) subscribe(conn *amqp.Connection, s *consuming) (*subscription, error) {
	queue := c.server.queue
	if err := c.server.opts.Queue.ensure(conn, queue); err != nil {
		return nil, err
	}
	tag := newName()
	deliveries, err := s.ch.Consume(queue, tag, false, false, false, false, nil)
	return &subscription{s, tag, deliveries}, err
}

func (c *consumer) set(s *subscription) {
	c.mu.Lock()
	c.subscription = s
	c.mu.Unlock()
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

func (c *consumer) current() *subscription {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.subscription
}

// next returns the next request, or none when there is something else to see
// to.
func (c *consumer) next(ctx context.Context, other, closed <-chan struct{}) (d delivery, ok bool, err error) {
	var deliveries <-chan amqp.Delivery
	if c.reading != nil {
		deliveries = c.reading.deliveries
	}
	select {
	case d, ok := <-deliveries:
		if !ok { // the subscription is over, another will come
			c.reading = nil
			return delivery{}, false, nil
		}
		return delivery{d, c.reading.consuming}, true, nil
	case <-c.changed:
		c.reading = c.current()
	case <-other:
	case <-ctx.Done():
	case <-closed:
		return d, false, io.EOF
	}
	return d, false, nil
}

// drain, when turned on, has the broker deliver nothing more and take back what
// was delivered and not taken. Turned off again, it delivers as before.
func (c *consumer) drain(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.draining != on {
		c.draining = on
		close(c.turned)
		c.turned = make(chan struct{})
	}
}

func (c *consumer) drains() (draining bool, turned <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.draining, c.turned
}

// giveBack cancels the consumer and returns what it still delivers. The channel
// stays open, for the running calls to be acknowledged. A nack, unlike a reject,
// does not count towards a quorum queue's delivery limit where RabbitMQ tells
// them apart, as 4.3 does and 3.10 does not.
func (c *consumer) giveBack(s *subscription) {
	_ = s.ch.Cancel(s.tag, false)
	for d := range s.deliveries {
		c.server.givenBack.Add(1)
		_ = d.Nack(false, true)
	}
}

// settle acknowledges requests, each on its own connection.
func settle(requests []delivery) {
	for len(requests) > 0 {
		session, n := requests[0].session, 1
		for n < len(requests) && requests[n].session == session {
			n++
		}
		if session != nil {
			session.settle(requests[:n])
		}
		requests = requests[n:]
	}
}

// settle acknowledges requests: with one acknowledgement all those before which
// none is still running, the others singly. A failed connection is no matter:
// the broker delivers again what it had not acknowledged.
func (s *consuming) settle(requests []delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(requests...)
	s.wire.hold()
	defer s.wire.release()
	var last uint64 // of these requests up to settled; the broker must know it still
	for _, d := range requests {
		if d.DeliveryTag <= s.settled {
			last = max(last, d.DeliveryTag)
		} else {
			_ = s.ch.Ack(d.DeliveryTag, false)
		}
	}
	if last > 0 {
		_ = s.ch.Ack(last, true)
	}
}

// note notes that requests are settled, or about to be.
func (s *consuming) note(requests ...delivery) {
	for _, d := range requests {
		s.ahead[d.DeliveryTag] = true
	}
	for s.ahead[s.settled+1] {
		s.settled++
		delete(s.ahead, s.settled)
	}
}

// reject gives a request up: it goes to the dead-letter exchange, if there is
// one.
func (s *consuming) reject(d delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(d)
	_ = d.Reject(false)
}
