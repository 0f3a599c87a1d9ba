package redisconn

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A caller is the calling end. It has two goroutines, awaited by Close:
//
//	WriteMessage  on any goroutine: hand over
//	send      add the reply list and the deadline, push all requests that wait
//	fetch     pop all answers that are there
//	  ReadMessage   on the codec's goroutine
//	Inquire       on a goroutine of the codec: withdraw requests
type caller struct {
	rdb   redis.UniversalClient
	queue string
	list  string // our reply list; an empty value on it ends a blocked pop

	out     *link.Outbox[*request]
	notes   *link.Notes
	popper  popper
	fetched chan []string
	read    chan struct{} // holds one if the only answer of a pop was read
	state   *link.State
	perCall *perCall // nil: all answers come on our list

	pushing chan struct{} // holds one while the sender pushes
	asker   *link.Asker   // for Inquire

	// The sender's own.
	clock   *clock
	backlog backlog
	buf     []byte // requests as they travel

	// ReadMessage's own.
	taken []string
	alone bool // taken was a single answer
	body  []byte

	closing  sync.Once
	closed   chan struct{} // closed when the sender has ended
	sending  sync.WaitGroup
	fetching sync.WaitGroup

	single atomic.Bool // the last pop brought one answer at most

	requests, replies, unsent, expired, overloaded, withdrawn atomic.Int64
}

const (
	maxPop      = 256     // answers taken at once
	maxPopBytes = 8 << 20 // about as many bytes of them
)

func newCaller(rdb redis.UniversalClient, queue string, opts DialOptions) *caller {
	prefix := opts.ReplyPrefix
	if prefix == "" {
		prefix = DefaultReplyPrefix
	}
	c := &caller{
		rdb:     rdb,
		queue:   queue,
		list:    prefix + link.NewName(),
		out:     link.NewOutbox[*request](true),
		notes:   link.NewNotes(0),
		popper:  popper{rdb: rdb},
		fetched: make(chan []string),
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

func (c *caller) SetLimits(jsonrpc2.Limits) {}

func (c *caller) WriteMessage(ctx context.Context, body []byte) error {
	list := c.list
	if c.perCall != nil {
		header, _ := jsonrpc2.ScanHeader(body)
		list = header.ID
		if header.Answer {
			c.perCall.add(ctx, list)
		}
	}
	r := &request{ctx: ctx, list: list, body: bytes.Clone(body), until: time.Now().Add(sendPatience)}
	if k, ok := ctx.(jsonrpc2.Keeper); ok {
		k.Keep(r)
	}
	if err := c.out.Put(r, len(r.body)); err != nil {
		return fmt.Errorf("%w: queue %q", err, c.queue)
	}
	return nil
}

func (c *caller) brokerTime() (time.Time, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	return brokerTime(ctx, c.rdb, c.queue)
}

// send sends requests until the outbox is closed and all is sent, or closeGrace
// is over.
func (c *caller) send() {
	defer close(c.closed)
	c.out.Run(link.Writer[*request]{Send: c.push, MaxPause: sendPatience / 4, Grace: closeGrace})
}

// fetch takes answers until the sender has ended.
func (c *caller) fetch() {
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
		c.hand(values)
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

func (c *caller) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// hand hands answers to ReadMessage. A single one it first lets ReadMessage take,
// for to send the next pop would keep its caller waiting for longer.
func (c *caller) hand(values []string) {
	c.single.Store(len(values) <= 1)
	if len(values) == 0 {
		return
	}
	select {
	case c.fetched <- values:
	case <-c.closed:
		return
	}
	if len(values) == 1 {
		select {
		case <-c.read:
		case <-c.closed:
		}
	}
}

func (c *caller) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	c.body = keep(c.body)
	for {
		if err := ctx.Err(); err != nil {
			return jsonrpc2.Message{}, err
		}
		if note, ok := c.notes.Next(); ok {
			return note, nil
		}
		if len(c.taken) > 0 {
			reply := c.taken[0]
			c.taken[0] = "" // not kept in memory until more is taken
			c.taken = c.taken[1:]
			if c.alone {
				c.read <- struct{}{}
			}
			if reply == "" { // it was for the fetcher
				continue
			}
			c.replies.Add(1)
			c.body = append(c.body[:0], reply...)
			return jsonrpc2.Message{Body: c.body, Reply: noReply}, nil
		}
		select {
		case c.taken = <-c.fetched:
			c.alone = len(c.taken) == 1
		case <-c.notes.Ready():
		case <-ctx.Done():
		case <-c.closed:
			return jsonrpc2.Message{}, io.EOF
		}
	}
}

// noReply is an answer's: it has none of its own.
func noReply([]byte) error { return nil }

func (c *caller) Close() error {
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
func (c *caller) wake() bool {
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

func (c *caller) addWake(ctx context.Context, pipeline redis.Pipeliner) {
	_ = pipeline.Process(ctx, newOnce(ctx, "rpush", c.list, ""))
	_ = pipeline.Process(ctx, newOnce(ctx, "pexpire", c.list, wakeTTL.Milliseconds()))
}

func (c *caller) stats() Stats {
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
