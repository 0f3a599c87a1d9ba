package amqpconn

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A caller is the calling end. It has three goroutines, awaited by Close:
//
//	WriteMessage  on any goroutine: hand over
//	send          publish all requests that wait, on the publisher's connection
//	publisher     keep a connection to publish on
//	receiver      keep a connection to consume answers on
//	  ReadMessage   on the codec's goroutine: take an answer
//	Inquire       on a goroutine of the codec: look at the queue
type caller struct {
	queue  string
	opts   DialOptions
	dialer *dialer

	out       *link.Outbox[request]
	notes     *link.Notes
	state     *link.State
	publisher *publisher[string] // knows requests by their id
	receiver  *receiver
	calls     *calls
	asker     *link.Asker // for Inquire
	looks     *link.Asker // for looks at the queue

	seen     *inspector // the sender's own
	inquired *inspector // the asker's own

	sending sync.WaitGroup
	closing sync.Once
	closed  chan struct{}

	requests, confirmed, replies, unsent, overloaded, expired, noServer, lost atomic.Int64
}

// A request is on its way to the queue.
type request struct {
	ctx    context.Context
	id     string // correlates the answer
	answer bool   // one is due
	body   []byte
	until  time.Time // tried for so long

	missed     bool   // its queue was missing, and is to be created first
	expiration string // in place of ctx's; "": none

	session *publishing[string] // on which it was published
	number  int64               // of those on it
}

func newCaller(d *dialer, queue string, opts DialOptions) *caller {
	c := &caller{
		queue:     queue,
		opts:      opts,
		dialer:    d,
		out:       link.NewOutbox[request](true),
		notes:     link.NewNotes(0),
		state:     link.NewState(opts.Logger, "rabbitmq", queue, "client"),
		publisher: newPublisher[string](),
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

func (c *caller) SetLimits(jsonrpc2.Limits) {}

func (c *caller) WriteMessage(ctx context.Context, body []byte) error {
	header, _ := jsonrpc2.ScanHeader(body)
	r := request{
		ctx:    ctx,
		id:     header.ID,
		answer: header.Answer,
		body:   append([]byte(nil), body...),
		until:  time.Now().Add(sendPatience),
	}
	if r.id == "" || len(r.id) > maxAddress {
		r.id = link.NewName()
	}
	if err := c.out.Put(r, len(body)); err != nil {
		return fmt.Errorf("%w: queue %q", err, c.queue)
	}
	return nil
}

func (c *caller) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	for {
		if err := ctx.Err(); err != nil {
			return jsonrpc2.Message{}, err
		}
		if note, ok := c.notes.Next(); ok {
			return note, nil
		}
		answer, ok, err := c.receiver.next(ctx, c.notes.Ready(), c.closed)
		if err != nil {
			return jsonrpc2.Message{}, err
		}
		if ok {
			r, _ := c.calls.take(answer.CorrelationId)
			c.replies.Add(1)
			msg := jsonrpc2.Message{Body: answer.Body, Request: r.body, Reply: noReply}
			if len(r.body) > 0 && r.body[0] == '{' { // the items of a batch may be answered one by one
				msg.Missing = errNoResponse
			}
			return msg, nil
		}
	}
}

// errNoResponse ends a call whose answer holds no response to it.
var errNoResponse = fmt.Errorf("%w: no response to this call", jsonrpc2.ErrBadReply)

// noReply is an answer's: it has none of its own.
func noReply([]byte) error { return nil }

func (c *caller) Close() error {
	c.closing.Do(func() {
		c.out.Close()
		stop(c.sending.Wait, &c.publisher.keeper, &c.receiver.keeper)
		c.asker.Close() // the end of the connections ends their questions
		c.looks.Close()
	})
	return nil
}

func (c *caller) stats() Stats {
	return Stats{
		Requests:   c.requests.Load(),
		Confirmed:  c.confirmed.Load(),
		Replies:    c.replies.Load(),
		Reconnects: c.state.Recoveries.Load(),
		Unsent:     c.unsent.Load(),
		Overloaded: c.overloaded.Load(),
		Expired:    c.expired.Load(),
		NoServer:   c.noServer.Load(),
		Lost:       c.lost.Load(),
	}
}

// declare creates the request queue where it is missing.
func (c *caller) declare(conn *amqp.Connection) error {
	queue := *c.opts.Declare
	queue.deliveryLimit = DefaultMaxDeliveries
	return queue.ensure(conn, c.queue)
}
