package amqpconn

import (
	"context"
	"io"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A receiver keeps a connection with an exclusive reply queue. The broker deletes the queue
// when the connection ends, so each connection has another one.
type receiver struct {
	*keeper
	sessions[receiveSession]
	perCall chan amqp.Delivery // receives the answers that came on queues for one call
	reading *receiveSession    // the reading goroutine's own

	queueReady func()      // is called when there is a reply queue
	queueGone  func(error) // is called when the reply queue is gone, unless the client is closed
}

// A receiveSession is one connection of a receiver.
type receiveSession struct {
	conn       *amqp.Connection
	ch         *amqp.Channel
	queue      string // the reply queue
	deliveries <-chan amqp.Delivery
	acks       answerAcks
	gone       chan struct{} // closed when the connection is given up

	mu        sync.Mutex     // protects following
	ended     bool           // no goroutine is started any more
	expecting sync.WaitGroup // the goroutines that wait for answers on queues for one call
}

func newReceiver(d *dialer, state *link.State) *receiver {
	r := &receiver{sessions: newSessions[receiveSession](), perCall: make(chan amqp.Delivery)}
	r.keeper = newKeeper(d, state, "receiving answers", r.run)
	return r
}

// run is the keeper's useFunc.
func (r *receiver) run(ctx context.Context, conn *amqp.Connection, _ *wire, up func()) error {
	s, err := r.open(conn)
	if err != nil {
		return err
	}
	connClosed := conn.NotifyClose(make(chan *amqp.Error, 1))
	chClosed := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	r.set(s)
	up()
	r.queueReady()
	ticker := time.NewTicker(maxUnackedTime)
	defer ticker.Stop()
	err = awaitAnd(ctx, connClosed, chClosed, ticker.C, s.acks.few)
	r.set(nil)
	s.end()
	if ctx.Err() == nil { // else the client is closed, and its codec ends the calls
		r.queueGone(err)
	}
	return err
}

// open creates a reply queue and consumes it.
func (r *receiver) open(conn *amqp.Connection) (*receiveSession, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	s := &receiveSession{conn: conn, ch: ch, acks: answerAcks{channel: ch}, gone: make(chan struct{})}
	queue, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return nil, lacking(err, configure, generated)
	}
	if err := ch.Qos(replyPrefetch, 0, false); err != nil {
		return nil, err
	}
	s.queue = queue.Name
	s.deliveries, err = ch.Consume(queue.Name, "", false, true, false, false, nil)
	return s, lacking(err, read, queue.Name)
}

// start runs f on a goroutine for which end waits. It reports whether it did: it does not once
// end has begun.
func (s *receiveSession) start(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.expecting.Go(f)
	}
	return !s.ended
}

// end closes the connection and waits for the goroutines.
func (s *receiveSession) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	close(s.gone)
	closeSoon(s.conn) // ends what waits for the broker
	s.expecting.Wait()
}

// ready returns the reply queue, if there is one.
func (r *receiver) ready() (queue string, ok bool) {
	s := r.current()
	if s == nil {
		return "", false
	}
	return s.queue, true
}

// next waits for an answer, and reports whether there is one: the caller calls it again if
// not. err is io.EOF once closed is closed; an answer that is at hand may come before.
func (r *receiver) next(ctx context.Context, closed <-chan struct{}) (answer amqp.Delivery, ok bool, err error) {
	var deliveries <-chan amqp.Delivery
	if r.reading != nil {
		deliveries = r.reading.deliveries
	}
	select {
	case d, ok := <-deliveries:
		if !ok { // the connection is gone, another will come
			r.reading = nil
			return d, false, nil
		}
		r.reading.acks.add(d.DeliveryTag, len(d.Body))
		return d, true, nil
	case d := <-r.perCall:
		return d, true, nil
	case <-r.changed:
		r.reading = r.current()
	case <-ctx.Done():
	case <-closed:
		return answer, false, io.EOF
	}
	return answer, false, nil
}

// expect creates a queue for one call. A goroutine waits for the answer until ctx is done or
// the connection ends.
func (r *receiver) expect(ctx context.Context, id string) error {
	s := r.current()
	if s == nil {
		return amqp.ErrClosed
	}
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	if _, err := ch.QueueDeclare(id, false, true, false, false, nil); err != nil {
		return lacking(err, configure, id)
	}
	deliveries, err := ch.Consume(id, id, true, false, false, false, nil)
	if err != nil {
		return lacking(err, read, id)
	}
	started := s.start(func() {
		r.expected(ctx, s, deliveries)
		_ = ch.Close() // the queue goes with its only consumer
	})
	if !started {
		return amqp.ErrClosed
	}
	return nil
}

// expected hands the answer to a call to next.
func (r *receiver) expected(ctx context.Context, s *receiveSession, deliveries <-chan amqp.Delivery) {
	select {
	case d, ok := <-deliveries:
		if ok {
			select {
			case r.perCall <- d:
			case <-s.gone:
			}
		}
	case <-ctx.Done():
	case <-s.gone:
	}
}
