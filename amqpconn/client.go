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
// goroutine. It has three goroutines, outlet, publisher and receiver, which Close awaits:
//
//	WriteRequest  on a caller's goroutine: hand a request over
//	  outlet        publish all requests that wait, on the publisher's connection
//	  publisher     keep a connection to publish on
//	    outcomes      end the notifications that have arrived, and what failed
//	  receiver      keep a connection to consume answers on
//	ReadReply     on the codec's goroutine: return one answer
//	Inquire       on another of the codec's: look at the queue
type ClientConn struct {
	queue  string
	dialer *dialer
	opened atomic.Bool
	state  *link.State

	outlet   *outlet
	outcomes *outcomes
	calls    *calls
	receiver *receiver
	inquired *inspector  // the asker's own
	asker    *link.Asker // for Inquire

	sending sync.WaitGroup
	closing sync.Once
	closed  chan struct{} // closed by Close when all is sent

	replies atomic.Int64
}

var _ jsonrpc2.ClientConn = (*ClientConn)(nil)

func newClientConn(d *dialer, queue string, opts DialOptions) *ClientConn {
	opts.setDefaults()
	c := &ClientConn{
		queue:  queue,
		dialer: d,
		state:  link.NewState(opts.Logger, "rabbitmq", queue, "client"),
		calls:  newCalls(),
		asker:  link.NewAsker(),
		closed: make(chan struct{}),
	}
	c.outcomes = &outcomes{where: d.where(), opts: &opts, requests: link.NewRequests[request](), calls: c.calls}
	c.receiver = newReceiver(d, c.state)
	c.outlet = newOutlet(d, queue, c.state, c.outcomes, c.receiver)
	c.receiver.queueReady = c.outlet.publisher.wakeUp
	c.receiver.queueGone = c.outcomes.replyQueueLost
	c.inquired = newInspector(c.receiver, queue, c.outlet.looks)
	c.outlet.publisher.start()
	c.receiver.start()
	c.sending.Go(c.outlet.run)
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
	own := request{Request: r, id: id, wantsAnswer: !r.IsNotification(), until: time.Now().Add(sendPatience)}
	if err := c.outlet.requests.Put(own, len(r.Body)); err != nil {
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
	r, ok := c.calls.remove(answer.CorrelationId)
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
	if err := c.outlet.impairment(); err != nil {
		return fmt.Errorf("%s: connection impaired: %w", c.dialer.where(), err)
	}
	return nil
}

// Inquire implements jsonrpc2.ClientConn. It returns what is wrong with the connection
// or, if nothing is, how many consumers the queue has, as of a second ago. It removes no
// request from the queue: calls expire there.
func (c *ClientConn) Inquire(ctx context.Context, requests []*jsonrpc2.Request) []error {
	queue, ok := link.Ask(ctx, c.asker, func() queueState { return c.inquired.within(consumersFresh) })
	finding := c.Err()
	if ok && queue.known && finding == nil {
		finding = fmt.Errorf("%w, at %s", queue.describe(c.queue), c.dialer.addresses())
	}
	if finding == nil {
		return nil
	}
	found := make([]error, len(requests))
	for i := range found {
		found[i] = finding
	}
	return found
}

// Close implements jsonrpc2.ClientConn. It takes less than 2 s, even if the broker does
// not answer.
func (c *ClientConn) Close() error {
	c.closing.Do(func() {
		unsent := c.outlet.requests.Unsent.Load()
		c.outlet.requests.Close()
		stopAll(c.flush, c.outlet.publisher, c.receiver)
		c.asker.Close() // the end of the connections ends their questions
		c.outlet.looks.Close()
		c.outlet.requests.LogUnsent(c.state, unsent)
	})
	return nil
}

// flush waits until all requests are sent, or there is no more time for that. Then it
// ends ReadReply.
func (c *ClientConn) flush() {
	c.sending.Wait()
	c.outcomes.unreported.Wait()
	close(c.closed)
}

// Stats returns what the ClientConn has done so far.
func (c *ClientConn) Stats() Stats {
	return Stats{
		Requests:    c.outlet.published.Load(),
		Confirmed:   c.outcomes.confirmed.Load(),
		Replies:     c.replies.Load(),
		Reconnects:  c.state.Recoveries.Load(),
		Unsent:      c.outlet.requests.Unsent.Load(),
		Unconfirmed: c.outcomes.unconfirmed.Load(),
		Overloaded:  c.outlet.requests.Overloaded.Load(),
		Expired:     c.outlet.requests.Expired.Load(),
		NoServer:    c.outcomes.noServer.Load(),
		Lost:        c.outcomes.lost.Load(),
	}
}
