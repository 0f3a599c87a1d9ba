package redisconn

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A ClientConn calls the servers of a queue. Dial makes it; give it to one codec, as
// jsonrpc2.NewClient does. The codec calls and closes it. Err and Stats are for any
// goroutine. Two goroutines are the ClientConn's own, the sender and the fetcher; Close awaits
// them. A call passes:
//
//	WriteRequest  on the caller's goroutine: put the request into the outlet
//	  sender        add the reply list and the deadline, push all requests that wait
//	  fetcher       pop all answers that are there; rest while nothing is under way
//	ReadReply     on the codec's goroutine: return one answer
//	Inquire       on another of the codec's, after a timeout: withdraw requests
type ClientConn struct {
	*broker
	list     string // our reply list; an empty value on it ends a blocked pop
	opened   atomic.Bool
	outlet   *outlet
	inbox    *inbox
	perCall  *perCall // nil: all answers come on our list
	inquirer *inquirer
	rest     *rest // of the fetcher, ended by a request or Err

	closing  sync.Once
	closed   chan struct{} // closed when the sender has ended, which ends the reading
	sending  sync.WaitGroup
	fetching sync.WaitGroup
}

func newClientConn(rdb redis.UniversalClient, queue string, opts DialOptions) *ClientConn {
	b := newBroker(rdb, queue, opts.Logger, "client")
	c := &ClientConn{
		broker: b,
		list:   cmp.Or(opts.ReplyPrefix, DefaultReplyPrefix) + link.NewName(),
		outlet: newOutlet(b, opts),
		closed: make(chan struct{}),
		rest:   &rest{over: make(chan struct{}, 1)},
	}
	c.inbox = newInbox(c.closed)
	c.inquirer = newInquirer(b, c.outlet.pushing, c.outlet.clock)
	c.outlet.LoneCaller = func() bool { return c.inbox.poppedOne.Load() && c.outlet.Len() <= 1 }
	list := &replyList{broker: b, name: c.list, popper: popper{rdb: rdb}, inbox: c.inbox, rest: c.rest}
	fetch := list.fetch
	if opts.ReplyPerCall {
		c.perCall = newPerCall(list)
		c.outlet.wakes, c.outlet.wakeList = c.perCall.isBlocked, c.list
		fetch = c.perCall.fetch
	}
	c.sending.Go(func() {
		defer close(c.closed)
		c.outlet.run()
	})
	c.fetching.Go(func() {
		c.greet()
		fetch()
	})
	return c
}

// Open implements jsonrpc2.ClientConn.
func (c *ClientConn) Open(settings jsonrpc2.Settings) error {
	if c.opened.Swap(true) {
		return jsonrpc2.ErrOpened
	}
	if settings.UnderWay != nil {
		c.rest.underWay.Store(&settings.UnderWay)
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
	if err := c.outlet.Put(own, len(r.Body)); err != nil {
		return fmt.Errorf("%w: queue %q", err, c.queue)
	}
	c.rest.end()
	return nil
}

// ReadReply implements jsonrpc2.ClientConn.
func (c *ClientConn) ReadReply(ctx context.Context) (jsonrpc2.Reply, error) {
	return c.inbox.reply(ctx)
}

// Inquire implements jsonrpc2.ClientConn. It says how many requests wait in the queue and, if
// that is known, how many servers have announced themselves. If at most 1,000 requests wait,
// it withdraws the given ones, at most 100 of them.
func (c *ClientConn) Inquire(ctx context.Context, requests []*jsonrpc2.Request) []error {
	return c.inquirer.inquire(ctx, requests)
}

// Err implements jsonrpc2.ClientConn: it returns what is wrong, nil while all works. It
// returns an error until Redis has first answered. A client without calls under way stops
// asking Redis after 5 s. Err then returns what was last known, and makes the client ask
// again: a later Err returns the result.
func (c *ClientConn) Err() error {
	if c.inbox.isClosed() {
		return net.ErrClosed
	}
	c.rest.end()
	return c.impairment()
}

// Close implements jsonrpc2.ClientConn. It sends what waits, for 2 s at most. If Redis
// answers, or refuses connections, Close takes about 3 s at most. If Redis does neither,
// Close waits until go-redis gives up: up to 15 s for the blocked pop and then, with
// go-redis's default ReadTimeout, up to 6 s for the last tries.
func (c *ClientConn) Close() error {
	c.closing.Do(func() {
		unsent := c.outlet.Unsent.Load()
		c.outlet.Close()
		c.sending.Wait()
		c.state.LogUnsent(c.outlet.Unsent.Load() - unsent)
		woken := c.wake()
		c.fetching.Wait()
		c.inquirer.asker.Close()
		if woken { // else Redis does not answer
			removeList(c.rdb, c.list, c.state.Logger)
		}
	})
	return nil
}

// wake ends a blocked pop. It reports whether Redis answered.
func (c *ClientConn) wake() bool {
	ctx, cancel := context.WithTimeout(context.Background(), closeGrace)
	defer cancel()
	pipeline := c.rdb.Pipeline()
	addWake(pipeline, c.list)
	_, err := pipeline.Exec(ctx)
	if isRefused(err) {
		c.state.Logger.Warn("closing takes as long as a pop blocks: it can't be ended", slog.Any("error", err))
	}
	return err == nil || isRefusal(err, "")
}

// Stats returns what the ClientConn has done so far.
func (c *ClientConn) Stats() ClientStats {
	return ClientStats{
		Requests:   c.outlet.count.Load(),
		Replies:    c.inbox.replies.Load(),
		Reconnects: c.state.Recoveries.Load(),
		Unsent:     c.outlet.Unsent.Load(),
		Withdrawn:  c.inquirer.withdrawn.Load(),
		Expired:    c.outlet.Expired.Load(),
		Overloaded: c.outlet.Overloaded.Load(),
		Bytes:      c.outlet.Bytes(),
	}
}
