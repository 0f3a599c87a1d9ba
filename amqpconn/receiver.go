package amqpconn

import (
	"context"
	"io"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A receiver keeps a connection with an exclusive reply queue, which lives as
// long as the connection does.
type receiver struct {
	keeper
	client *ClientConn

	reading *receiving         // the reading goroutine's own
	changed chan struct{}      // holds one if there is another connection
	single  chan amqp.Delivery // answers on queues for one call

	mu      sync.Mutex // protects following
	session *receiving
}

// A receiving is one connection of a receiver.
type receiving struct {
	conn       *amqp.Connection
	ch         *amqp.Channel
	queue      string
	deliveries <-chan amqp.Delivery
	acks       acks
	ended      chan struct{}
	waiting    sync.WaitGroup // for answers on queues for one call
}

func newReceiver(c *ClientConn, d *dialer) *receiver {
	r := &receiver{
		client:  c,
		changed: make(chan struct{}, 1),
		single:  make(chan amqp.Delivery),
	}
	r.dialer, r.state, r.doing = d, c.state, "receiving answers"
	r.use = r.run
	return r
}

func (r *receiver) run(ctx context.Context, conn *amqp.Connection, _ *wire, up func()) error {
	s, err := r.open(conn)
	if err != nil {
		return err
	}
	connClosed := conn.NotifyClose(make(chan *amqp.Error, 1))
	chClosed := s.ch.NotifyClose(make(chan *amqp.Error, 1))
	r.set(s)
	up()
	r.client.publisher.wakeUp()
	ticker := time.NewTicker(maxUnackedTime)
	defer ticker.Stop()
	err = awaitAnd(ctx, connClosed, chClosed, ticker.C, s.acks.few)
	r.set(nil)
	close(s.ended)
	closeSoon(conn) // ends what waits for it
	s.waiting.Wait()
	if ctx.Err() == nil { // else it is the end of the client, and of its calls
		r.client.replyQueueLost(err)
	}
	return err
}

func (r *receiver) open(conn *amqp.Connection) (*receiving, error) {
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	s := &receiving{conn: conn, ch: ch, acks: acks{channel: ch}, ended: make(chan struct{})}
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

func (r *receiver) set(s *receiving) {
	r.mu.Lock()
	r.session = s
	r.mu.Unlock()
	link.Signal(r.changed)
}

func (r *receiver) current() *receiving {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.session
}

// ready returns the reply queue, if there is one.
func (r *receiver) ready() (queue string, ok bool) {
	s := r.current()
	if s == nil {
		return "", false
	}
	return s.queue, true
}

// next returns the next answer, or none when there is something else to see to.
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
		r.reading.acks.took(d.DeliveryTag, len(d.Body))
		return d, true, nil
	case d := <-r.single:
		return d, true, nil
	case <-r.changed:
		r.reading = r.current()
	case <-ctx.Done():
	case <-closed:
		return answer, false, io.EOF
	}
	return answer, false, nil
}

// expect makes a queue for one call, and has its answer taken until ctx is done.
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
	s.waiting.Go(func() {
		r.expected(ctx, s, deliveries)
		_ = ch.Close() // the queue goes with its only consumer
	})
	return nil
}

func (r *receiver) expected(ctx context.Context, s *receiving, deliveries <-chan amqp.Delivery) {
	select {
	case d, ok := <-deliveries:
		if ok {
			select {
			case r.single <- d:
			case <-s.ended:
			}
		}
	case <-ctx.Done():
	case <-s.ended:
	}
}

// inspect asks what a queue is like.
func (r *receiver) inspect(queue string) (state queueState) {
	s := r.current()
	if s == nil {
		return state
	}
	err := onChannel(s.conn, func(ch *amqp.Channel) error {
		q, err := ch.QueueDeclarePassive(queue, false, false, false, false, nil)
		state.consumers, state.messages = q.Consumers, q.Messages
		return err
	})
	state.missing = isCode(err, amqp.NotFound)
	state.known = err == nil || state.missing
	return state
}
