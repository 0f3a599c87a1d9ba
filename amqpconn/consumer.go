package amqpconn

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A consumer keeps a connection on which requests are consumed. Its requests
// can be acknowledged on no other: their tags begin anew with each.
type consumer struct {
	keeper
	server *ServerConn

	reading *consuming    // the reading goroutine's own
	changed chan struct{} // holds one if there is another connection

	mu       sync.Mutex // protects following
	session  *consuming
	drained  bool
	draining chan struct{} // closed when drained
}

// A consuming is one connection of a consumer.
type consuming struct {
	ch        *amqp.Channel
	wire      *wire
	tag       string
	delivered <-chan amqp.Delivery // by the library
	waiting   chan delivery        // to be taken; has room for the prefetch

	mu      sync.Mutex // protects following
	settled uint64     // all up to this one are
	ahead   map[uint64]bool
}

// A delivery is a request, and the connection it came on; nil if it is
// acknowledged.
type delivery struct {
	amqp.Delivery
	session  *consuming
	deadline time.Time // of its caller; zero if it says none
}

var errQueueGone = errors.New("the queue was deleted, or the consumer cancelled")

func newConsumer(s *ServerConn, d *dialer) *consumer {
	c := &consumer{server: s, changed: make(chan struct{}, 1), draining: make(chan struct{})}
	c.dialer, c.state, c.doing = d, s.state, "consuming requests"
	c.use = c.run
	return c
}

func (c *consumer) run(ctx context.Context, conn *amqp.Connection, w *wire, up func()) error {
	if c.isDraining() { // what came on another connection can't be acknowledged on this
		<-ctx.Done()
		return ctx.Err()
	}
	if err := c.server.opts.Queue.ensure(conn, c.server.queue); err != nil {
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
	defer s.end()
	up()
	delivered := s.delivered
	for {
		select {
		case d, ok := <-delivered:
			if ok {
				c.keep(ctx, s, d)
			} else { // one of the others says why
				delivered = nil
			}
		case <-c.draining:
			c.giveBackAll(s)
			return await(ctx, connClosed, chClosed) // the running calls are acknowledged
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

// keep keeps a request until it is taken, which may be long after it came: its
// time runs from now.
func (c *consumer) keep(ctx context.Context, s *consuming, d amqp.Delivery) {
	request := delivery{d, s, deadlineOf(d.Expiration)}
	if _, poison := c.server.isPoison(&request); !poison && c.server.runs.hold(request) {
		return
	}
	select {
	case s.waiting <- request:
	case <-c.draining: // the others are only for a broker that minds no prefetch
		c.giveBack(d)
	case <-ctx.Done():
	}
}

// deadlineOf returns when a request that came now has expired. 0 milliseconds
// say that a consumer has to be there, and nothing of the caller.
func deadlineOf(expiration string) (deadline time.Time) {
	if expiration == "" {
		return deadline
	}
	milliseconds, err := strconv.ParseUint(expiration, 10, 32) // RabbitMQ takes no more
	if err != nil || milliseconds == 0 {
		return deadline
	}
	return time.Now().Add(time.Duration(milliseconds) * time.Millisecond)
}

// end drops what was not taken: the broker delivers it again.
func (s *consuming) end() {
	close(s.waiting)
	for range s.waiting {
	}
}

func (c *consumer) open(conn *amqp.Connection, w *wire) (*consuming, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	if err := ch.Qos(c.server.opts.Prefetch, 0, false); err != nil {
		return nil, err
	}
	s := &consuming{
		ch:      ch,
		wire:    w,
		tag:     link.NewName(),
		waiting: make(chan delivery, c.server.opts.Prefetch),
		ahead:   make(map[uint64]bool),
	}
	s.delivered, err = ch.Consume(c.server.queue, s.tag, false, false, false, false, nil)
	return s, lacking(err, read, c.server.queue)
}

func (c *consumer) set(s *consuming) {
	c.mu.Lock()
	c.session = s
	c.mu.Unlock()
	link.Signal(c.changed)
}

func (c *consumer) current() *consuming {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session
}

// next returns the next request, or none when there is something else to see
// to. In a drain there is none.
func (c *consumer) next(ctx context.Context, closed <-chan struct{}) (d delivery, ok bool, err error) {
	var waiting <-chan delivery
	if c.reading != nil {
		waiting = c.reading.waiting
	}
	select {
	case d, ok := <-waiting:
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

// drain has the broker deliver nothing more and take back what was delivered
// and not taken.
func (c *consumer) drain() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.drained {
		c.drained = true
		close(c.draining)
	}
}

func (c *consumer) isDraining() bool {
	select {
	case <-c.draining:
		return true
	default:
		return false
	}
}

// giveBackAll cancels the consumer and returns what it still delivers. The
// channel stays open, for the running calls to be acknowledged.
func (c *consumer) giveBackAll(s *consuming) {
	_ = s.ch.Cancel(s.tag, false)
	for d := range s.delivered {
		c.giveBack(d)
	}
	for {
		select {
		case d := <-s.waiting:
			c.giveBack(d.Delivery)
		default:
			return
		}
	}
}

// giveBack returns a request to its queue. A nack, unlike a reject, does not
// count towards a quorum queue's delivery limit where RabbitMQ tells them apart,
// as 4.3 does by its documentation and 3.10 does not.
func (c *consumer) giveBack(d amqp.Delivery) {
	c.server.givenBack.Add(1)
	_ = d.Nack(false, true)
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

// requeue has a request delivered again.
func (s *consuming) requeue(d delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.note(d)
	_ = d.Nack(false, true)
}
