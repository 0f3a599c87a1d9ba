package jsonrpc2

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// BatchOptions are the options of Batch. The zero value is useful, and so is a
// nil pointer to it.
type BatchOptions struct {
	// MaxItems limits the requests in a batch; 100 if 0, at most 10,000. Servers
	// have a limit, too: 1,000 by default with this package.
	MaxItems int

	// MaxBytes limits the length of a batch, but for a single request that is
	// longer; 256 KiB if 0.
	MaxBytes int
}

// Defaults of the options.
const (
	DefaultBatchItems = 100
	DefaultBatchBytes = 256 << 10
)

// Batch returns a Conn around a calling Conn, which it owns, that joins requests
// into batches: those that wait when it is about to send. No request waits for
// company, on a timer or for an earlier answer, and one that is alone is sent as
// it is, at once.
//
// By the specification (section 6) the answers of a batch come together, when
// its slowest item is done, while its items run concurrently. A batch saves the
// broker or the HTTP server a message for each item: use it with RabbitMQ and
// HTTP, nearly always, if the servers know batches, as all of this module do. It
// does little for streams and Redis, which take many messages at once anyway, and
// harm where quick calls would wait for slow ones. The limit of a message holds for
// all answers of a batch: where results are long, MaxItems should be small.
//
// A server that knows no batches answers one with a single error that has no id.
// Its calls fail with that error where it is certain which batch it is about:
// where the transport tells (HTTP, RabbitMQ), or no other is under way.
func Batch(conn Conn, opts *BatchOptions) Conn {
	if opts == nil {
		opts = &BatchOptions{}
	}
	b := &batchConn{
		Conn:     conn,
		maxItems: min(orDefault(opts.MaxItems, DefaultBatchItems), maxBatchItems),
		maxBytes: orDefault(opts.MaxBytes, DefaultBatchBytes),
		wake:     make(chan struct{}, 1),
		done:     make(chan struct{}),
	}
	go b.run()
	return b
}

// A batchConn has one goroutine, which Close awaits. It sends what waits.
type batchConn struct {
	Conn
	maxItems, maxBytes int

	wake chan struct{} // holds one if there may be something to send
	done chan struct{} // closed when the goroutine has ended

	// The goroutine's own.
	joined []byte
	number uint64 // of the last message

	mu        sync.Mutex // protects following
	waiting   []batchItem
	bytes     int // of what waits
	closed    bool
	failed    []Message          // what the Conn did not take
	reading   context.Context    // what the Conn is read under
	interrupt context.CancelFunc // of reading, to see failed
	under     <-chan struct{}    // the Done of the context that reading is under
}

type batchItem struct {
	ctx  context.Context
	body []byte
}

func (i batchItem) isRequest() bool { return kindOf(i.body) == '{' }

// SetLimits implements Limiter.
func (b *batchConn) SetLimits(l Limits) {
	if limiter, ok := b.Conn.(Limiter); ok {
		limiter.SetLimits(l)
	}
}

func (b *batchConn) WriteMessage(ctx context.Context, body []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return net.ErrClosed
	case b.bytes+len(body) > maxWaiting:
		return ErrOverloaded
	}
	b.waiting = append(b.waiting, batchItem{ctx, append([]byte(nil), body...)})
	b.bytes += len(body)
	b.signal()
	return nil
}

func (b *batchConn) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func (b *batchConn) run() {
	defer close(b.done)
	for range b.wake {
		settle(b.waitingItems)
		items, open := b.take()
		for len(items) > 0 {
			n := b.fit(items)
			b.send(items[:n])
			items = items[n:]
		}
		if !open {
			return
		}
	}
}

func (b *batchConn) waitingItems() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// take takes what waits and is still waited for.
func (b *batchConn) take() (items []batchItem, open bool) {
	b.mu.Lock()
	items, b.waiting, b.bytes, open = b.waiting, nil, 0, !b.closed
	b.mu.Unlock()
	wanted := items[:0]
	for _, item := range items {
		if item.ctx.Err() == nil {
			wanted = append(wanted, item)
		}
	}
	return wanted, open
}

// fit returns how many of the items fit into one batch: at least one. What is no
// single request, as a batch written by hand, travels alone.
func (b *batchConn) fit(items []batchItem) int {
	n, length := 1, len("[]")+len(items[0].body)
	for n < len(items) && n < b.maxItems && items[0].isRequest() && items[n].isRequest() {
		length += len(",") + len(items[n].body)
		if length > b.maxBytes {
			break
		}
		n++
	}
	return n
}

func (b *batchConn) send(items []batchItem) {
	b.number++
	for _, item := range items {
		if p, ok := item.ctx.(*pendingCall); ok {
			p.batch.Store(b.number)
		}
	}
	body, ctx := items[0].body, items[0].ctx
	if len(items) > 1 {
		body, ctx = b.join(items)
	}
	err := b.Conn.WriteMessage(ctx, body)
	if err == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed = append(b.failed, Message{Body: append([]byte(nil), body...), Err: err})
	if b.interrupt != nil {
		b.interrupt()
	}
}

// join makes a batch, and the context that it travels under.
func (b *batchConn) join(items []batchItem) ([]byte, context.Context) {
	if cap(b.joined) > maxKeptBuffer {
		b.joined = nil
	}
	ctx := &batchContext{Context: context.Background(), items: make([]context.Context, 0, len(items))}
	body := append(b.joined[:0], '[')
	for i, item := range items {
		if i > 0 {
			body = append(body, ',')
		}
		body = append(body, item.body...)
		ctx.add(item.ctx)
	}
	b.joined = append(body, ']')
	return b.joined, ctx
}

// A batchContext ends when nobody waits for any item of a batch any more.
type batchContext struct {
	context.Context
	items    []context.Context
	deadline time.Time // the latest
	unending bool      // some item has none
}

func (c *batchContext) add(item context.Context) {
	c.items = append(c.items, item)
	deadline, ok := item.Deadline()
	if !ok {
		c.unending = true
	} else if deadline.After(c.deadline) {
		c.deadline = deadline
	}
}

// Deadline returns the latest deadline.
func (c *batchContext) Deadline() (time.Time, bool) {
	return c.deadline, !c.unending
}

// Err is not nil as soon as all items are given up.
func (c *batchContext) Err() error {
	var err error
	for _, item := range c.items {
		if err = item.Err(); err == nil {
			return nil
		}
	}
	return err
}

// Value returns what the first item's caller has put into its context.
func (c *batchContext) Value(key any) any {
	return c.items[0].Value(key)
}

func (b *batchConn) ReadMessage(ctx context.Context) (Message, error) {
	for {
		failed, reading, ok := b.nextFailed(ctx)
		if ok {
			return failed, nil
		}
		msg, err := b.Conn.ReadMessage(reading)
		switch {
		case reading.Err() == nil || !errors.Is(err, reading.Err()):
			return msg, err
		case ctx.Err() != nil: // which need not be the same
			return msg, ctx.Err()
		}
	}
}

// nextFailed returns the next message that the Conn did not take or, where there
// is none, the context to read under.
func (b *batchConn) nextFailed(ctx context.Context) (failed Message, reading context.Context, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.failed) > 0 {
		failed, b.failed = b.failed[0], b.failed[1:]
		return failed, nil, true
	}
	return failed, b.readingUnder(ctx), false
}

// readingUnder returns a context under ctx that ends early when something has
// failed; the same one for as long as it can.
func (b *batchConn) readingUnder(ctx context.Context) context.Context {
	if b.reading == nil || b.reading.Err() != nil || b.under != ctx.Done() {
		if b.interrupt != nil {
			b.interrupt()
		}
		b.reading, b.interrupt = context.WithCancel(ctx)
		b.under = ctx.Done()
	}
	return b.reading
}

// Inquire implements Inquirer.
func (b *batchConn) Inquire(ctx context.Context, requests []any) []error {
	if inquirer, ok := b.Conn.(Inquirer); ok {
		return inquirer.Inquire(ctx, requests)
	}
	return nil
}

// Close sends what waits and closes the Conn.
func (b *batchConn) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.signal()
	<-b.done
	return b.Conn.Close()
}
