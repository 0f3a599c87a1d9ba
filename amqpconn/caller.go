package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
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
	queue string
	opts  DialOptions

	out       *link.Outbox[request]
	notes     *link.Notes
	state     *link.State
	publisher *publisher[string] // knows requests by their id
	receiver  *receiver
	calls     *calls
	asker     *link.Asker // for Inquire

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
}

func newCaller(d *dialer, queue string, opts DialOptions) *caller {
	c := &caller{
		queue:     queue,
		opts:      opts,
		out:       link.NewOutbox[request](true),
		notes:     link.NewNotes(0),
		state:     link.NewState(opts.Logger, "rabbitmq", queue, "client"),
		publisher: newPublisher[string](),
		calls:     newCalls(),
		asker:     link.NewAsker(),
		closed:    make(chan struct{}),
	}
	c.publisher.keeper.dialer, c.publisher.state, c.publisher.doing = d, c.state, "publishing requests"
	c.publisher.confirm = opts.Persistent
	c.publisher.returned = c.returned
	c.publisher.settled = c.settle
	if opts.Declare != nil {
		c.publisher.prepare = func(_ context.Context, conn *amqp.Connection) error { return opts.Declare.ensure(conn, queue) }
	}
	c.receiver = newReceiver(c, d)
	c.seen = &inspector{receiver: c.receiver, queue: queue}
	c.inquired = &inspector{receiver: c.receiver, queue: queue}
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

func (c *caller) send() {
	c.out.Run(link.Writer[request]{
		Send:     c.publish,
		Kick:     c.publisher.kick,
		MaxPause: maxPause,
		Grace:    sendGrace,
	})
	close(c.closed)
}

// publish publishes all requests, and returns those to try again.
func (c *caller) publish(work []request) (again []request) {
	work = c.wanted(work)
	session, blocked := c.publisher.current()
	replyTo, ready := c.receiver.ready()
	switch {
	case len(work) == 0:
		return nil
	case blocked: // until the calls time out
		return work
	case session == nil || !ready:
		return c.refused(work)
	case c.opts.RequireConsumer && c.seen.within(consumersFresh).isUnserved():
		c.fail(work, fmt.Errorf("%w: queue %q has no consumer", jsonrpc2.ErrNoServer, c.queue))
		return nil
	}
	work = c.admitted(work)
	session.wire.hold()
	defer session.wire.release() // what fails then may have arrived: the calls wait
	for i, r := range work {
		if err := c.publishOne(session, replyTo, r); err != nil {
			return c.refused(work[i:])
		}
		c.seen.published++
		c.out.Done(len(r.body))
	}
	if queue, _ := c.receiver.ready(); queue != replyTo { // lost while we wrote
		c.replyQueueLost(amqp.ErrClosed)
	}
	return nil
}

func (c *caller) publishOne(session *publishing[string], replyTo string, r request) error {
	msg := amqp.Publishing{
		ContentType:   "application/json",
		CorrelationId: r.id,
		MessageId:     r.id,
		Body:          r.body,
		Expiration:    expiration(r.ctx),
	}
	if c.opts.Persistent {
		msg.DeliveryMode = amqp.Persistent
	}
	if r.answer {
		msg.ReplyTo = replyTo
		if c.opts.ReplyPerCall {
			if err := c.receiver.expect(r.ctx, r.id); err != nil {
				return err
			}
			msg.ReplyTo = r.id
		}
		c.calls.add(r)
	}
	var err error
	if c.opts.Persistent {
		err = session.publishConfirmed(c.queue, msg, r.id)
	} else {
		err = session.publish(c.queue, msg)
	}
	if err != nil {
		c.calls.take(r.id)
		return err
	}
	c.requests.Add(1)
	return nil
}

// expiration is how long the broker keeps a request: in milliseconds, for as
// long as its caller waits.
func expiration(ctx context.Context) string {
	deadline, ok := ctx.Deadline()
	if !ok {
		return ""
	}
	return strconv.FormatInt(max(time.Until(deadline).Milliseconds(), 1), 10)
}

// wanted drops the requests whose callers have given up.
func (c *caller) wanted(work []request) []request {
	wanted := work[:0]
	for _, r := range work {
		if r.ctx.Err() == nil {
			wanted = append(wanted, r)
			continue
		}
		c.expired.Add(1)
		c.out.Done(len(r.body))
	}
	return wanted
}

// refused fails the requests that have waited for long enough, and returns the
// others.
func (c *caller) refused(work []request) (again []request) {
	now := time.Now()
	again = work[:0]
	var failed []request
	for _, r := range work {
		if now.Before(r.until) {
			again = append(again, r)
		} else {
			failed = append(failed, r)
		}
	}
	c.unsent.Add(int64(len(failed)))
	c.failAll(failed, fmt.Errorf("%w: queue %q: no connection to the broker", jsonrpc2.ErrUnavailable, c.queue))
	return again
}

// admitted fails the requests for which there is no room in the queue.
func (c *caller) admitted(work []request) []request {
	if c.opts.MaxBacklog == 0 {
		return work
	}
	queue := c.seen.within(messagesFresh)
	if !queue.known {
		return work
	}
	waiting := queue.messages + c.seen.published
	n := min(len(work), max(c.opts.MaxBacklog-waiting, 0))
	c.overloaded.Add(int64(len(work) - n))
	c.failAll(work[n:], fmt.Errorf("%w: messages waiting in queue %q: %d", jsonrpc2.ErrOverloaded, c.queue, waiting+n))
	return work[:n]
}

// fail fails requests that have no server.
func (c *caller) fail(work []request, err error) {
	c.noServer.Add(int64(len(work)))
	c.failAll(work, err)
}

func (c *caller) failAll(work []request, err error) {
	for _, r := range work {
		c.out.Done(len(r.body))
		c.notes.Add(r.body, err)
	}
}

// returned fails a call whose queue does not exist.
func (c *caller) returned(r amqp.Return) {
	c.calls.take(r.CorrelationId)
	c.noServer.Add(1)
	c.notes.Add(r.Body, fmt.Errorf("%w: queue %q: %s", jsonrpc2.ErrNoServer, c.queue, r.ReplyText))
}

// settle notes what became of persistent requests. Those of which nothing is
// known may have arrived: their calls wait.
func (c *caller) settle(fates []fate[string]) {
	for _, f := range fates {
		switch {
		case f.err == nil:
			c.confirmed.Add(1)
		case errors.Is(f.err, errNotTaken):
			r, _ := c.calls.take(f.item) // a notification is not there, and logged without its text
			c.unsent.Add(1)
			c.notes.Add(r.body, fmt.Errorf("%w: queue %q: the broker refused the request", jsonrpc2.ErrUnavailable, c.queue))
		}
	}
}

// replyQueueLost fails the calls whose answers would have come to it.
func (c *caller) replyQueueLost(err error) {
	for _, r := range c.calls.takeAll() {
		c.lost.Add(1)
		c.notes.Add(r.body, fmt.Errorf("%w: the reply queue is gone: %w", jsonrpc2.ErrReplyLost, err))
	}
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
		c.asker.Close() // the end of the connections ends its question
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

// calls are the requests that were published and not answered.
type calls struct {
	mu    sync.Mutex // protects following
	byID  map[string]request
	sweep int // when there are so many, look for those given up
}

const minSweep = 1024

func newCalls() *calls {
	return &calls{byID: make(map[string]request), sweep: minSweep}
}

func (c *calls) add(r request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byID[r.id] = r
	if len(c.byID) < c.sweep {
		return
	}
	for id, r := range c.byID {
		if r.ctx.Err() != nil {
			delete(c.byID, id)
		}
	}
	c.sweep = 2*len(c.byID) + minSweep
}

func (c *calls) take(id string) (request, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.byID[id]
	delete(c.byID, id)
	return r, ok
}

func (c *calls) takeAll() (all []request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, r := range c.byID {
		if r.ctx.Err() == nil {
			all = append(all, r)
		}
		delete(c.byID, id)
	}
	return all
}
