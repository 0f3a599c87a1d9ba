package redisconn

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A ClientConn calls the servers of a queue. It is made by Dial, and given to one
// codec. It has two goroutines, which Close awaits:
//
//	WriteRequest  on any goroutine: hand over
//	send      add the reply list and the deadline, push all requests that wait
//	fetch     pop all answers that are there
//	  ReadReply     on the codec's goroutine
//	Inquire       on a goroutine of the codec: withdraw requests
type ClientConn struct {
	rdb    redis.UniversalClient
	queue  string
	list   string // our reply list; an empty value on it ends a blocked pop
	opened atomic.Bool

	out     *link.Outbox[*request]
	popper  popper
	fetched chan answers
	read    chan struct{} // holds one if the only answer of a pop was read
	state   *link.State
	perCall *perCall // nil: all answers come on our list

	pushing chan struct{} // holds one while the sender pushes
	asker   *link.Asker   // for Inquire

	// The sender's own.
	clock   *clock
	backlog backlog
	buf     []byte // requests as they travel

	// ReadReply's own.
	taken answers
	alone bool // taken was a single answer
	body  []byte

	closing  sync.Once
	closed   chan struct{} // closed when the sender has ended
	sending  sync.WaitGroup
	fetching sync.WaitGroup

	single atomic.Bool // the last pop brought one answer at most

	requests, replies, unsent, expired, overloaded, withdrawn atomic.Int64
}

// The answers that a pop took.
type answers struct {
	bodies   []string
	requests []*jsonrpc2.Request // that they answer; nil where only the bodies tell
}

const (
	maxPop      = 256     // answers taken at once
	maxPopBytes = 8 << 20 // about as many bytes of them
)

func newClientConn(rdb redis.UniversalClient, queue string, opts DialOptions) *ClientConn {
	prefix := opts.ReplyPrefix
	if prefix == "" {
		prefix = DefaultReplyPrefix
	}
	c := &ClientConn{
		rdb:     rdb,
		queue:   queue,
		list:    prefix + link.NewName(),
		out:     link.NewOutbox[*request](true),
		popper:  popper{rdb: rdb},
		fetched: make(chan answers),
		read:    make(chan struct{}, 1),
		state:   newState(rdb, opts.Logger, queue, "client"),
		pushing: make(chan struct{}, 1),
		asker:   link.NewAsker(),
		closed:  make(chan struct{}),
	}
	c.out.Lone = func() bool { return c.single.Load() && c.out.Len() <= 1 }
	c.clock = &clock{ask: c.brokerTime, state: c.state}
	c.backlog = backlog{limit: int64(opts.MaxBacklog), ask: c.length}
	c.sending.Go(c.send)
	if opts.ReplyPerCall {
		c.perCall = newPerCall(c)
		c.fetching.Go(c.perCall.fetch)
	} else {
		c.fetching.Go(c.fetch)
	}
	return c
}

// Open implements jsonrpc2.ClientConn.
func (c *ClientConn) Open(jsonrpc2.Settings) error {
	if c.opened.Swap(true) {
		return jsonrpc2.ErrOpened
	}
	return nil
}

// WriteRequest implements jsonrpc2.ClientConn.
func (c *ClientConn) WriteRequest(r *jsonrpc2.Request) error {
	r.Keep()
	own := &request{Request: r, list: c.list, until: time.Now().Add(sendPatience)}
	if c.perCall != nil {
		own.list = r.ID()
		if !r.IsNotification() {
			c.perCall.add(own)
		}
	}
	r.Handle = own
	if err := c.out.Put(own, len(r.Body)); err != nil {
		return fmt.Errorf("%w: queue %q", err, c.queue)
	}
	return nil
}

func (c *ClientConn) brokerTime() (time.Time, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	return brokerTime(ctx, c.rdb, c.queue)
}

// send sends requests until the outbox is closed and all is sent, or closeGrace
// is over.
func (c *ClientConn) send() {
	defer close(c.closed)
	c.failLeft(c.out.Run(link.Writer[*request]{Send: c.push, MaxPause: sendPatience / 4, Grace: closeGrace}))
}

// fetch takes answers until the sender has ended.
func (c *ClientConn) fetch() {
	var backoff link.Backoff
	n := 1
	for !c.isClosed() {
		_, values, err := c.popper.pop(n, c.list)
		if err != nil {
			impaired(c.state, c.rdb, "taking answers", err)
			link.Wait(backoff.Next(), c.closed)
			continue
		}
		c.state.Worked("taking answers")
		backoff.Reset()
		n = nextPop(n, values)
		c.hand(answers{bodies: values})
	}
}

// nextPop returns how many answers to take at once after these, of which n were
// asked for: fewer when they are long, lest a flood of them fills the memory.
func nextPop(n int, values []string) int {
	longest := 1
	for _, value := range values {
		longest = max(longest, len(value))
	}
	if len(values) == n {
		n *= 2
	}
	return max(1, min(n, maxPop, maxPopBytes/longest))
}

func (c *ClientConn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// hand hands answers to ReadReply. Popping first would delay a lone caller: hand
// waits until a single answer is read.
func (c *ClientConn) hand(a answers) {
	c.single.Store(len(a.bodies) <= 1)
	if len(a.bodies) == 0 {
		return
	}
	select {
	case c.fetched <- a:
	case <-c.closed:
		return
	}
	if len(a.bodies) == 1 {
		select {
		case <-c.read:
		case <-c.closed:
		}
	}
}

// ReadReply implements jsonrpc2.ClientConn.
func (c *ClientConn) ReadReply(ctx context.Context) (jsonrpc2.Reply, error) {
	c.body = keep(c.body)
	for {
		if err := ctx.Err(); err != nil {
			return jsonrpc2.Reply{}, err
		}
		if len(c.taken.bodies) > 0 {
			reply := c.next()
			if len(reply.Body) == 0 && reply.Request == nil { // it was for the fetcher
				continue
			}
			c.replies.Add(1)
			return reply, nil
		}
		select {
		case c.taken = <-c.fetched:
			c.alone = len(c.taken.bodies) == 1
		case <-ctx.Done():
		case <-c.closed:
			return jsonrpc2.Reply{}, io.EOF
		}
	}
}

// next returns the next of the answers that were taken.
func (c *ClientConn) next() (reply jsonrpc2.Reply) {
	c.body = append(c.body[:0], c.taken.bodies[0]...)
	reply.Body = c.body
	c.taken.bodies[0] = "" // not kept in memory until more is taken
	c.taken.bodies = c.taken.bodies[1:]
	if len(c.taken.requests) > 0 {
		reply.Request = c.taken.requests[0]
		c.taken.requests = c.taken.requests[1:]
	}
	if reply.Request != nil {
		reply.Missing = c.perCall.missing
	}
	if c.alone {
		c.read <- struct{}{}
	}
	return reply
}

// Err implements jsonrpc2.ClientConn.
func (c *ClientConn) Err() error {
	if c.isClosed() {
		return net.ErrClosed
	}
	return impairment(c.state, c.rdb, c.queue)
}

// Close implements jsonrpc2.ClientConn. Where Redis answers or refuses connections
// it takes 2 s and a try or two at most, about 3 s. On a connection that does
// neither it takes until go-redis gives up: up to 15 s for the blocked pop and,
// with go-redis's default ReadTimeout, 6 s for what is tried then.
func (c *ClientConn) Close() error {
	c.closing.Do(func() {
		c.out.Close()
		c.sending.Wait()
		woken := c.wake()
		c.fetching.Wait()
		c.asker.Close()
		if woken { // else Redis does not answer
			removeList(c.rdb, c.list, c.state.Logger)
		}
	})
	return nil
}

// wake ends a blocked pop, and reports whether Redis answered.
func (c *ClientConn) wake() bool {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	pipeline := c.rdb.Pipeline()
	c.addWake(ctx, pipeline)
	_, err := pipeline.Exec(ctx)
	if isRefused(err) {
		c.state.Logger.Warn("closing takes as long as a pop blocks: it can't be ended", slog.Any("error", err))
	}
	return err == nil || isRefusal(err, "")
}

func (c *ClientConn) addWake(ctx context.Context, pipeline redis.Pipeliner) {
	_ = pipeline.Process(ctx, newOnce(ctx, "rpush", c.list, ""))
	_ = pipeline.Process(ctx, newOnce(ctx, "pexpire", c.list, wakeTTL.Milliseconds()))
}

// Stats returns what the ClientConn has done so far.
func (c *ClientConn) Stats() Stats {
	return Stats{
		Requests:   c.requests.Load(),
		Replies:    c.replies.Load(),
		Reconnects: c.state.Recoveries.Load(),
		Unsent:     c.unsent.Load(),
		Withdrawn:  c.withdrawn.Load(),
		Expired:    c.expired.Load(),
		Overloaded: c.overloaded.Load(),
	}
}
