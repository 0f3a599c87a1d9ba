package jsonrpc2

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/internal/yield"
)

// BatchOptions are the options of Batch. The zero value is useful, and so is a nil
// pointer to it.
type BatchOptions struct {
	// MaxItems limits the requests in a batch; 100 if 0, at most 10,000. Servers have a
	// limit, too: see ServerOptions.MaxBatch.
	MaxItems int

	// MaxBytes limits the length of a batch, in bytes; 256 KiB if 0. A single request
	// may be longer.
	MaxBytes int
}

const (
	defaultBatchItems = 100
	defaultBatchBytes = 256 << 10

	// While fewUnanswered messages or more are unanswered, requests wait for others to
	// join them, for batchPause at most.
	fewUnanswered = 4
	batchPause    = 200 * time.Microsecond
)

// Batch returns a ClientConn around conn that joins requests into batches. It joins those
// that wait when it is about to send, and sends a lone request at once, as it is. Only while
// four messages or more are unanswered do requests wait for others. They wait until fewer
// messages are unanswered, until they fill a batch, and for 0.2 ms at most. Closing the result
// closes conn.
//
// Use Batch if the servers know batches, as those of this module do: it saves the broker or
// the HTTP server a message for each item. It gains most on RabbitMQ and HTTP, and a good deal
// on Redis with hundreds of callers; on streams it gains little.
//
// The items of a batch run concurrently, but their answers come together, when the
// slowest item is done (specification, section 6). So quick calls may wait for slow ones.
// The server's MaxMessageSize holds for all answers of a batch together: choose a small
// MaxItems where results are long.
//
// A server that knows no batches answers with a single error without an id. The calls of
// the batch fail with this error if it is certainly about them. HTTP and RabbitMQ say which
// message it answers. Over Redis and streams it is certain only if no other call waits for an
// answer. Otherwise the calls of the batch fail with ErrTimeout, and its text quotes the
// error.
func Batch(conn ClientConn, opts *BatchOptions) ClientConn {
	if opts == nil {
		opts = &BatchOptions{}
	}
	return &batchConn{
		ClientConn: conn,
		maxItems:   min(orDefault(opts.MaxItems, defaultBatchItems), maxBatchItems),
		maxBytes:   orDefault(opts.MaxBytes, defaultBatchBytes),
		wake:       make(chan struct{}, 1),
		ended:      make(chan struct{}, 1),
		sending:    make(chan struct{}, 1),
	}
}

// A batchConn has one goroutine, run, which sends what waits. Open starts it, and Close waits
// for its end.
type batchConn struct {
	ClientConn
	maxItems, maxBytes int

	wake    chan struct{}  // receives if there may be something to send
	ended   chan struct{}  // receives if a message may have ended
	running sync.WaitGroup // for the goroutine, which Open starts
	sending chan struct{}  // full while requests are handed to ClientConn, see Inquire
	joined  []byte         // buffer for a batch, the goroutine's own

	unanswered atomic.Int64 // messages that were sent and have not ended

	mu      sync.Mutex // protects following
	waiting []*Request
	bytes   int // of what waits
	closed  bool
}

// Open implements ClientConn.
func (b *batchConn) Open(s Settings) error {
	err := b.ClientConn.Open(s)
	if err == nil {
		b.running.Go(b.run)
	}
	return err
}

func (b *batchConn) WriteRequest(r *Request) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.closed:
		return net.ErrClosed
	case b.bytes+len(r.Body) > maxWaiting:
		return ErrOverloaded
	}
	r.Keep()
	b.waiting = append(b.waiting, r)
	b.bytes += len(r.Body)
	link.Signal(b.wake)
	return nil
}

func (b *batchConn) run() {
	for range b.wake {
		yield.WhileGrowing(b.waitingItems)
		b.waitForMore()
		if !b.sendAll() {
			return
		}
	}
}

// waitForMore waits for requests to join those that wait, as Nagle's algorithm does (RFC 896):
// only while messages are unanswered. Without the wait, small batches would stay small: callers
// that were answered together make their next calls together, and nobody joins them.
func (b *batchConn) waitForMore() {
	if !b.awaitsMore() {
		return
	}
	timer := time.NewTimer(batchPause)
	defer timer.Stop()
	for b.awaitsMore() {
		select {
		case <-b.wake:
		case <-b.ended:
		case <-timer.C:
			return
		}
	}
	yield.WhileGrowing(b.waitingItems)
}

func (b *batchConn) awaitsMore() bool {
	if b.unanswered.Load() < fewUnanswered {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.closed && len(b.waiting) < b.maxItems && b.bytes < b.maxBytes
}

// partEnded implements whole: a message has ended.
func (b *batchConn) partEnded(int32) {
	b.unanswered.Add(-1)
	link.Signal(b.ended)
}

func (b *batchConn) waitingItems() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.waiting)
}

// sendAll sends what waits. It reports whether more may come: not after Close.
func (b *batchConn) sendAll() bool {
	b.sending <- struct{}{}
	defer func() { <-b.sending }()
	requests, more := b.take()
	for len(requests) > 0 {
		n := b.fit(requests)
		b.send(requests[:n])
		requests = requests[n:]
	}
	return more
}

// take takes the requests that wait, and leaves out those that were given up. more is false
// after Close.
func (b *batchConn) take() (requests []*Request, more bool) {
	b.mu.Lock()
	requests, b.waiting, b.bytes, more = b.waiting, nil, 0, !b.closed
	b.mu.Unlock()
	wanted := requests[:0]
	for _, r := range requests {
		if !r.GivenUp() {
			wanted = append(wanted, r)
		}
	}
	return wanted, more
}

// fit returns how many of the requests fit into one batch: at least one. A body that
// is no single request, such as a batch written by hand, travels alone.
func (b *batchConn) fit(requests []*Request) int {
	n, length := 1, len("[]")+len(requests[0].Body)
	for n < len(requests) && n < b.maxItems && isSingle(requests[0]) && isSingle(requests[n]) {
		length += len(",") + len(requests[n].Body)
		if length > b.maxBytes {
			break
		}
		n++
	}
	return n
}

func isSingle(r *Request) bool { return kindOf(r.Body) == '{' }

// send hands requests to the wrapped Conn: one as it is, more as a batch.
func (b *batchConn) send(requests []*Request) {
	r := requests[0]
	if len(requests) > 1 {
		r = b.join(slices.Clone(requests)) // a slice of what waited would keep all of that alive
		r.sentAs(r)
	}
	for _, part := range requests {
		part.sentAs(r)
	}
	b.unanswered.Add(1)
	r.join(b) // partEnded counts its end
	if err := b.ClientConn.WriteRequest(r); err != nil {
		r.Fail(withSentinel(err, ErrUnavailable))
	}
}

func (b *batchConn) join(requests []*Request) *Request {
	if cap(b.joined) > maxKeptBuffer {
		b.joined = nil
	}
	b.joined = appendBatch(b.joined[:0], requests)
	return JoinRequests(b.joined, Hooks{}, requests...)
}

// Inquire implements ClientConn. A request that was not handed to the Conn has not run. The
// Conn is asked about a whole batch, and may withdraw it, only if all in it was given up. A
// batch with a notification may count as given up because the notification was sent, and that
// still has to run. In both other cases the Conn is asked about the request alone, which it
// can't withdraw.
func (b *batchConn) Inquire(ctx context.Context, requests []*Request) []error {
	select { // when sendAll is not under way, each request waits, was sent, or was dropped
	case b.sending <- struct{}{}:
		<-b.sending
	case <-ctx.Done():
		return nil
	}
	found := make([]error, len(requests))
	var asked []*Request
	places := make(map[*Request][]int) // indexes in requests, for each of asked
	for i, r := range requests {
		message := r.message.Load()
		switch {
		case message == nil:
			found[i] = fmt.Errorf("%w: it had not been sent", ErrNotRun)
			continue
		case !message.GivenUp(), message != r && message.HasNotification():
			message = r
		}
		if places[message] == nil {
			asked = append(asked, message)
		}
		places[message] = append(places[message], i)
	}
	if len(asked) == 0 {
		return found
	}
	for i, err := range b.ClientConn.Inquire(ctx, asked) {
		for _, place := range places[asked[i]] {
			found[place] = err
		}
	}
	return found
}

// Close sends what waits and closes the Conn.
func (b *batchConn) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	link.Signal(b.wake)
	b.running.Wait()
	return b.ClientConn.Close()
}
