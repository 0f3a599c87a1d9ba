package amqpconn

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A ClientConn calls the servers of a queue. Dial makes it; give it to one codec, as
// jsonrpc2.NewClient does. The codec calls and closes it. Err and Stats are for any
// goroutine. It has three goroutines, send, publisher and receiver, which Close awaits:
//
//	WriteRequest  on a caller's goroutine: hand a request over
//	  send          publish all requests that wait, on the publisher's connection
//	  publisher     keep a connection to publish on
//	    settle        end the notifications that the broker has
//	  receiver      keep a connection to consume answers on
//	ReadReply     on the codec's goroutine: return one answer
//	Inquire       on another of the codec's: look at the queue
type ClientConn struct {
	queue  string
	opts   DialOptions
	dialer *dialer
	opened atomic.Bool

	requests  *link.Requests[request]
	state     *link.State
	publisher *publisher[request]
	receiver  *receiver
	calls     *calls
	asker     *link.Asker // for Inquire
	looks     *link.Asker // for looks at the queue

	seen     *inspector // the sender's own
	inquired *inspector // the asker's own

	sending sync.WaitGroup
	untold  sync.WaitGroup // the tracked requests that settle was not told of
	closing sync.Once
	closed  chan struct{}

	published, confirmed, replies, unconfirmed, noServer, lost atomic.Int64
}

var _ jsonrpc2.ClientConn = (*ClientConn)(nil)

func newClientConn(d *dialer, queue string, opts DialOptions) *ClientConn {
	c := &ClientConn{
		queue:     queue,
		opts:      opts,
		dialer:    d,
		requests:  link.NewRequests[request](),
		state:     link.NewState(opts.Logger, "rabbitmq", queue, "client"),
		publisher: newPublisher[request](),
		calls:     newCalls(),
		asker:     link.NewAsker(),
		looks:     link.NewAsker(),
		closed:    make(chan struct{}),
	}
	c.publisher.keeper.dialer, c.publisher.state, c.publisher.doing = d, c.state, "publishing requests"
	c.publisher.confirm = opts.Persistent
	c.publisher.returned = c.returned
	c.publisher.settled = c.settle
	c.publisher.failed = c.channelClosed
	if opts.Declare != nil {
		c.publisher.prepare = func(_ context.Context, conn *amqp.Connection) error { return c.declare(conn) }
	}
	c.receiver = newReceiver(c, d)
	c.seen = newInspector(c.receiver, queue, c.looks)
	c.inquired = newInspector(c.receiver, queue, c.looks)
	c.publisher.start()
	c.receiver.start()
	c.sending.Go(c.send)
	return c
}

// Open implements jsonrpc2.ClientConn. It uses no settings: an answer longer than
// MessageSize is fetched whole.
func (c *ClientConn) Open(jsonrpc2.Settings) error {
	if c.opened.Swap(true) {
		return jsonrpc2.ErrOpened
	}
	return nil
}

// WriteRequest implements jsonrpc2.ClientConn.
func (c *ClientConn) WriteRequest(r *jsonrpc2.Request) error {
	r.Keep()
	id := r.ID()
	if id == "" || len(id) > maxAddress {
		id = link.NewName()
	}
	out := request{Request: r, id: id, answer: !r.IsNotification(), until: time.Now().Add(sendPatience)}
	if err := c.requests.Put(out, len(r.Body)); err != nil {
		return fmt.Errorf("%w: queue %q", err, c.queue)
	}
	return nil
}

// ReadReply implements jsonrpc2.ClientConn.
func (c *ClientConn) ReadReply(ctx context.Context) (jsonrpc2.Reply, error) {
	for {
		if err := ctx.Err(); err != nil {
			return jsonrpc2.Reply{}, err
		}
		answer, ok, err := c.receiver.next(ctx, c.closed)
		if err != nil {
			return jsonrpc2.Reply{}, err
		}
		if ok {
			c.replies.Add(1)
			return c.reply(answer), nil
		}
	}
}

// reply makes a Reply of an answer.
func (c *ClientConn) reply(answer amqp.Delivery) jsonrpc2.Reply {
	r, ok := c.calls.take(answer.CorrelationId)
	switch {
	case !ok:
		return jsonrpc2.Reply{Body: answer.Body}
	case r.isSingle():
		return jsonrpc2.Reply{Body: answer.Body, Request: r.Request, Missing: errNoResponse}
	}
	r.Sent() // if that was not known yet; the items of a batch may be answered one by one
	return jsonrpc2.Reply{Body: answer.Body, Request: r.Request}
}

// errNoResponse ends a call whose answer holds no response to it.
var errNoResponse = fmt.Errorf("%w: no response to this call", jsonrpc2.ErrBadReply)

// Err implements jsonrpc2.ClientConn: it returns what is wrong, nil while all works.
func (c *ClientConn) Err() error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	if err := c.impairment(); err != nil {
		return fmt.Errorf("%s: connection impaired: %w", c.dialer.where(), err)
	}
	return nil
}

// impairment returns what keeps requests from being published, or answers from
// coming, nil if nothing does.
func (c *ClientConn) impairment() error {
	if err := c.state.Cause(); err != nil {
		return err
	}
	if err := c.publisher.impairment(); err != nil {
		return err
	}
	if _, ready := c.receiver.ready(); !ready {
		return errConnecting
	}
	return nil
}

// Close implements jsonrpc2.ClientConn. It takes less than 2 s, even if the broker does
// not answer.
func (c *ClientConn) Close() error {
	c.closing.Do(func() {
		c.requests.Close()
		stop(c.finish, &c.publisher.keeper, &c.receiver.keeper)
		c.asker.Close() // the end of the connections ends their questions
		c.looks.Close()
	})
	return nil
}

// finish waits until all requests are sent, or there is no more time for that.
func (c *ClientConn) finish() {
	c.sending.Wait()
	c.untold.Wait()
	close(c.closed)
}

// Stats returns what the ClientConn has done so far.
func (c *ClientConn) Stats() Stats {
	return Stats{
		Requests:    c.published.Load(),
		Confirmed:   c.confirmed.Load(),
		Replies:     c.replies.Load(),
		Reconnects:  c.state.Recoveries.Load(),
		Unsent:      c.requests.Unsent.Load(),
		Unconfirmed: c.unconfirmed.Load(),
		Overloaded:  c.requests.Overloaded.Load(),
		Expired:     c.requests.Expired.Load(),
		NoServer:    c.noServer.Load(),
		Lost:        c.lost.Load(),
	}
}

// declare creates the request queue where it is missing.
func (c *ClientConn) declare(conn *amqp.Connection) error {
	queue := *c.opts.Declare
	queue.deliveryLimit = defaultMaxDeliveries
	return queue.ensure(conn, c.queue)
}
