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
// jsonrpc2.NewClient does. The codec calls and closes it. Any goroutine may call Err and
// Stats. Close waits for its goroutines: publisher, receiver, and two outlets (one with
// Persistent), each with a channel and a listener.
//
//	WriteRequest  on a caller's goroutine: hand a request over
//	  outlet        publish all requests that wait, on the outlet's channel
//	  publisher     keep a connection to publish on
//	    channel       keep a channel of it
//	      listener      end the notifications that are confirmed, and requests that failed
//	  receiver      keep a connection to consume answers on
//	ReadReply     on the codec's goroutine: return one answer
//	Inquire       on another of the codec's: look at the queue
type ClientConn struct {
	dialer *dialer
	opened atomic.Bool
	state  *link.State

	outlets   []*outlet // for calls, and for notifications; with Persistent one for both
	publisher *publisher
	outcomes  *outcomes
	calls     *calls
	receiver  *receiver
	inquired  *inspector  // what Inquire knows of the queue
	asker     *link.Asker // runs inquired, which itself uses looks
	looks     *link.Asker // runs looks at the queue, and its creation

	sending sync.WaitGroup // the outlets' goroutines
	closing sync.Once
	closed  chan struct{} // closed by Close when all is sent, or its time is over

	replies atomic.Int64
}

var _ jsonrpc2.ClientConn = (*ClientConn)(nil)

func newClientConn(d *dialer, opts DialOptions) *ClientConn {
	opts.setDefaults()
	c := &ClientConn{
		dialer: d,
		state:  link.NewState(opts.Logger, "rabbitmq", d.queue, "client"),
		calls:  newCalls(),
		asker:  link.NewAsker(),
		looks:  link.NewAsker(),
		closed: make(chan struct{}),
	}
	c.outcomes = &outcomes{where: d.where(), opts: &opts, calls: c.calls}
	c.receiver = newReceiver(d, c.state)
	c.publisher = newPublisher(d, c.state, "publishing requests")
	if opts.Declare != nil {
		c.publisher.prepare = func(_ context.Context, conn *amqp.Connection) error { return opts.Declare.ensure(conn, d.queue) }
	}
	c.makeOutlets(&opts)
	c.receiver.queueReady = c.publisher.wakeUp
	c.receiver.queueGone = c.outcomes.replyQueueLost
	c.inquired = newInspector(c.receiver, d.queue, c.looks)
	c.publisher.start()
	c.receiver.start()
	for _, o := range c.outlets {
		c.sending.Go(o.run)
	}
	return c
}

// makeOutlets makes an outlet for calls, and one for requests with notifications. The
// second one's channel is in confirm mode, and is opened when it has a request. With
// Persistent there is one outlet, in confirm mode, for all requests.
func (c *ClientConn) makeOutlets(opts *DialOptions) {
	seen := newInspector(c.receiver, c.dialer.queue, c.looks)
	seen.logger = c.state.Logger
	add := func(channel *publishChannel[request]) {
		channel.returned, channel.report, channel.ended = c.outcomes.returned, c.outcomes.report, c.outcomes.channelClosed
		c.publisher.channels = append(c.publisher.channels, channel)
		c.outlets = append(c.outlets, &outlet{
			queue:     c.dialer.queue,
			where:     c.outcomes.where,
			opts:      opts,
			state:     c.state,
			requests:  link.NewRequests[request](jsonrpc2.ErrOverloaded),
			calls:     c.calls,
			outcomes:  c.outcomes,
			channel:   channel,
			publisher: c.publisher,
			receiver:  c.receiver,
			seen:      seen,
			looks:     c.looks,
		})
	}
	add(newPublishChannel[request](opts.Persistent, false))
	if !opts.Persistent {
		add(newPublishChannel[request](true, true))
	}
}

// outletFor returns the outlet for a request. A batch with a notification is one message,
// and needs the confirm to end its notifications. Its calls lose nothing by that: their
// answers do not wait for the confirm.
func (c *ClientConn) outletFor(r *jsonrpc2.Request) *outlet {
	if r.HasNotification() {
		return c.outlets[len(c.outlets)-1]
	}
	return c.outlets[0]
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
	r.Keep() // an outlet publishes Body later
	id := r.ID()
	if id == "" || len(id) > maxAddress { // no correlation id
		id = link.NewName()
	}
	own := request{Request: r, id: id, wantsAnswer: !r.IsNotification(), until: time.Now().Add(sendPatience)}
	if err := c.outletFor(r).requests.Put(own, len(r.Body)); err != nil {
		return fmt.Errorf("%w: queue %q", err, c.dialer.queue)
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

// reply returns the Reply for an answer. For one without the correlation id of a waiting
// call, the codec finds the call by the ids in the answer's body.
func (c *ClientConn) reply(answer amqp.Delivery) jsonrpc2.Reply {
	r, ok := c.calls.remove(answer.CorrelationId)
	switch {
	case !ok:
		return jsonrpc2.Reply{Body: answer.Body}
	case r.isSingle():
		return jsonrpc2.Reply{Body: answer.Body, Request: r.Request, Missing: errNoResponse}
	}
	r.Sent() // the answer may come before the confirm
	// Missing is not set: a server may answer the items of a batch one by one.
	return jsonrpc2.Reply{Body: answer.Body, Request: r.Request}
}

// errNoResponse ends a call whose answer holds no response to it.
var errNoResponse = fmt.Errorf("%w: no response to this call", jsonrpc2.ErrBadReply)

// Err implements jsonrpc2.ClientConn: it returns what is wrong, nil while all works. Until
// the broker has let the client in, it returns an error, too.
func (c *ClientConn) Err() error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	if err := c.outlets[0].impairment(); err != nil {
		return fmt.Errorf("%s: connection impaired: %w", c.dialer.where(), err)
	}
	return nil
}

// Inquire implements jsonrpc2.ClientConn. It returns what is wrong with the connection
// or, if nothing is, how many consumers the queue had, at most a second ago. It withdraws
// no request from the queue: calls expire there.
func (c *ClientConn) Inquire(ctx context.Context, requests []*jsonrpc2.Request) []error {
	queue, ok := link.Ask(ctx, c.asker, func() queueState { return c.inquired.within(consumersFresh) })
	finding := c.Err()
	if ok && queue.err == nil && finding == nil {
		finding = fmt.Errorf("%w, at %s", queue.describe(c.dialer.queue), c.dialer.addresses())
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
// not answer. For a second of that it waits until all accepted requests are sent and
// confirmed.
func (c *ClientConn) Close() error {
	c.closing.Do(func() {
		unsent := c.Stats().Unsent
		for _, o := range c.outlets {
			o.requests.Close()
		}
		stopAll(c.flush, c.publisher, c.receiver)
		c.asker.Close() // the connections are closed: that ends the questions under way
		c.looks.Close()
		c.state.LogUnsent(c.Stats().Unsent - unsent)
	})
	return nil
}

// flush waits until all requests are sent and all confirms have come, or the outlets' time
// is over. Then it ends ReadReply. The end of the connection ends what hangs.
func (c *ClientConn) flush() {
	c.sending.Wait()
	c.outcomes.unreported.Wait()
	close(c.closed)
}

// Stats returns what the ClientConn has done so far.
func (c *ClientConn) Stats() ClientStats {
	s := ClientStats{
		Confirmed:   c.outcomes.confirmed.Load(),
		Replies:     c.replies.Load(),
		Reconnects:  c.state.Recoveries.Load(),
		Unconfirmed: c.outcomes.unconfirmed.Load(),
		Overloaded:  c.outcomes.refused.Load(),
		NoServer:    c.outcomes.noServer.Load(),
		Lost:        c.outcomes.lost.Load(),
	}
	for _, o := range c.outlets {
		s.Requests += o.published.Load()
		s.Unsent += o.requests.Unsent.Load()
		s.Overloaded += o.requests.Overloaded.Load()
		s.Expired += o.requests.Expired.Load()
		s.Bytes += o.requests.Bytes()
	}
	return s
}
