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

	// fewUnanswered messages are under way before requests wait for more to join them,
	// batchPause at most.
	fewUnanswered = 4
	batchPause    = 200 * time.Microsecond
)

// Batch returns a ClientConn around conn that joins requests into batches. It joins those
// that wait when it is about to send, and sends a lone request at once, as it is. Only while
// four messages or more are unanswered do requests wait: until one of these is answered, until
// they fill a batch, and for 0.2 ms at most. Closing the result closes conn.
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
// the batch fail with this error if it is certain that it is about them: HTTP and RabbitMQ
// tell, and elsewhere no other call may be waiting. Otherwise the calls of the batch fail
// with ErrTimeout.
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

// A batchConn has one goroutine, which Close awaits. It sends what waits.
type batchConn struct {
	ClientConn
	maxItems, maxBytes int

	wake    chan struct{}  // receives if there may be something to send
	ended   chan struct{}  // receives if a message may have ended
	running sync.WaitGroup // for the goroutine, which Open starts
	sending chan struct{}  // full while requests are handed to ClientConn, see Inquire
	joined  []byte         // the goroutine's own

	unanswered atomic.Int64 // messages

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
// only while messages are unanswered. Their answers let callers go on, so that the next
// requests come together. Without that many small batches stay small for good, since those
// whose answers came together call together again.
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

// partEnded notes that a message has ended.
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

// take takes the requests that wait and whose callers still wait.
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
		r = b.join(slices.Clone(requests)) // or one batch would keep all of them alive
		r.sentAs(r)
	}
	for _, part := range requests {
		part.sentAs(r)
	}
	b.unanswered.Add(1)
	r.join(b)
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

// Inquire implements ClientConn. Of a request that was not sent it knows that it did not
// run. A batch is inquired of as a whole if all of it was given up. One with a notification
// is not, since the Conn may withdraw it: the notification may have ended by being sent.
func (b *batchConn) Inquire(ctx context.Context, requests []*Request) []error {
	select { // what is being sent is sent, or dropped, then
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
