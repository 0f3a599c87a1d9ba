package jsonrpc2

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/yield"
)

// A streamWriter sends messages on a goroutine of its own: all that wait, one behind the
// other. The goroutine runs while something waits.
//
//	write      queue a message, start run unless it runs
//	run        on its own goroutine, until nothing waits
//	  take       exchange the two buffers
//	  send       write what was taken, in pieces
//	    sent       note the end; after a failure, take the rest, too
//	    fail       tell what was not sent
type streamWriter struct {
	w      io.WriteCloser
	piece  int                // bytes of one Write, at most
	failed func()             // called when a write has failed
	reply  func([]byte) error // Delivery.Reply, made once: it is the same for all messages
	start  func()             // run, made once: each go w.run() would allocate
	host   *streamHost        // nil: none
	lost   *atomic.Int64      // counts the requests that fail with ErrReplyLost; nil: nobody counts

	mu        sync.Mutex          // protects following
	tellCodec func([]byte, error) // Settings.Lost; nil before Open
	buffers   *writeBuffers       // nil: none are needed
	replies   int                 // bytes of answers that wait
	sending   volume              // what is being written
	room      chan struct{}       // closed when something was sent; nil if nobody waits for that
	movement
	end     streamEnd
	running bool          // the goroutine runs
	idle    chan struct{} // closed when the goroutine has ended; nil before close
	closed  bool          // write fails
}

// A movement says what the stream has taken.
type movement struct {
	written int64         // bytes
	moved   time.Duration // when it last took some, or was empty, by the host's clock
}

// A streamEnd says how a stream has ended for its writer.
type streamEnd struct {
	err     error // of a write, or of the stream when it was closed; nil: none
	cutOff  bool  // err is of cutOff
	unsent  int   // bytes that were given up
	stalled bool  // they were given up because the peer took no more
}

// A volume is a number of bytes. replies of these are of answers.
type volume struct{ bytes, replies int }

// A queued message is in a buffer of the writer.
type queued struct {
	request *Request // nil: an answer
	start   int      // where it begins
}

// outgoing is what is sent in one go.
type outgoing struct {
	buf      []byte
	messages []queued // those in buf
}

// reset empties the buffers, and drops those that are too large to keep.
func (o *outgoing) reset() {
	clear(o.messages) // the requests would stay alive
	o.buf, o.messages = o.buf[:0], o.messages[:0]
	if cap(o.buf) > maxKeptBuffer {
		o.buf = nil
	}
	if cap(o.messages) > maxKeptItems {
		o.messages = nil
	}
}

// writeBuffers are what waits and what is being sent. take exchanges the two.
type writeBuffers struct {
	queue   outgoing // protected by the writer's mu
	sending outgoing // the writer's goroutine's own
}

// pieceFor returns how many bytes one Write gets at most. Each Write that returns shows
// progress. The kernel takes much at once, a pipe in memory no more than is read.
func pieceFor(w io.Writer) int {
	if outer, ok := w.(interface{ NetConn() net.Conn }); ok {
		w = outer.NetConn()
	}
	switch w.(type) {
	case *net.TCPConn, *net.UnixConn, *os.File:
		return 64 << 10
	}
	return 4 << 10
}

func (w *streamWriter) init(wc io.WriteCloser, host *streamHost, failed func()) {
	w.w, w.host, w.piece, w.failed = wc, host, pieceFor(wc), failed
	w.reply = func(body []byte) error {
		if body == nil {
			return nil
		}
		return w.write(body, nil)
	}
	w.start = w.run
}

// open sets tellCodec.
func (w *streamWriter) open(lost func(body []byte, why error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tellCodec = lost
}

// write queues a message: a request, or an answer if r is nil. It does not limit answers:
// waitForRoom holds back the requests that would cause more of them, and the host of the
// stream cuts off peers that don't read.
func (w *streamWriter) write(body []byte, r *Request) error {
	tooMuch, err := w.enqueue(body, r)
	if tooMuch {
		w.host.relieve()
	}
	return err
}

// enqueue does what write does, and also reports whether too much waits on all streams of the
// host together.
func (w *streamWriter) enqueue(body []byte, r *Request) (tooMuch bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	waiting := w.sending.bytes + w.queued()
	switch {
	case w.end.err != nil:
		return false, w.end.err
	case w.closed:
		return false, net.ErrClosed
	case r != nil && waiting+len(body) > maxWaiting:
		return false, ErrOverloaded
	}
	if w.buffers == nil {
		w.buffers = w.host.newBuffers()
	}
	queue := &w.buffers.queue
	queue.messages = append(queue.messages, queued{r, len(queue.buf)})
	queue.buf = append(append(queue.buf, body...), '\n')
	if r == nil {
		w.replies += len(body)
		tooMuch = w.host.waits(len(body))
	}
	if waiting == 0 {
		w.moved = w.host.now()
	}
	if !w.running {
		w.running = true
		go w.start()
	}
	return tooMuch, nil
}

// queued returns how many bytes wait, without those being sent. It is called with w.mu locked.
func (w *streamWriter) queued() int {
	if w.buffers == nil {
		return 0
	}
	return len(w.buffers.queue.buf)
}

func (w *streamWriter) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.queued()
}

// run sends until nothing waits, or the stream fails.
func (w *streamWriter) run() {
	for w.goesOn() {
		yield.WhileGrowing(w.waiting)
		out := w.take()
		w.send(out)
		out.reset()
	}
}

// goesOn reports whether something waits. If not, the goroutine ends, and another one is
// started for the next message.
func (w *streamWriter) goesOn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.queued() > 0 {
		return true
	}
	w.running = false
	if w.host != nil && w.buffers != nil {
		w.host.writeBuffers.Put(w.buffers)
		w.buffers = nil
	}
	if w.idle != nil {
		close(w.idle)
	}
	return false
}

// take takes what waits, and puts the buffer of what was sent last in its place.
func (w *streamWriter) take() *outgoing {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.buffers
	b.queue, b.sending = b.sending, b.queue
	w.sending, w.replies = volume{len(b.sending.buf), w.replies}, 0
	return &b.sending
}

// send writes what was taken, piece by piece, so that progress shows.
func (w *streamWriter) send(out *outgoing) {
	rest := out.buf
	var err error
	for len(rest) > 0 && err == nil {
		var n int
		n, err = w.w.Write(rest[:min(len(rest), w.piece)])
		rest = rest[n:]
		w.mu.Lock()
		w.written += int64(n)
		w.moved = w.host.now()
		w.mu.Unlock()
	}
	waiting, err := w.sent(len(rest), err)
	if err == nil {
		for _, m := range out.messages {
			if m.request != nil {
				m.request.Sent()
			}
		}
		return
	}
	w.fail(out, len(out.buf)-len(rest), err)
	w.fail(&waiting, 0, err)
	closeAbruptly(w.w) // so that the reader ends, too
	w.failed()
}

// fail tells what has become of messages when the stream broke: written bytes of them were
// written. It ends requests by Fail, and tells the codec of answers.
func (w *streamWriter) fail(out *outgoing, written int, err error) {
	for i, m := range out.messages {
		end := len(out.buf)
		if i+1 < len(out.messages) {
			end = out.messages[i+1].start
		}
		switch {
		case m.request != nil:
			w.failRequest(m.request, lossOf(m, written), err)
		case end > written && w.tellCodec != nil:
			w.tellCodec(out.buf[m.start:end-len("\n")], err)
		}
	}
}

func (w *streamWriter) failRequest(r *Request, loss, cause error) {
	if w.lost != nil && loss == ErrReplyLost && !r.GivenUp() {
		w.lost.Add(1)
	}
	err := fmt.Errorf("%w: the stream broke: %w", loss, cause)
	if loss == ErrUnavailable {
		err = unseenError{err}
	}
	r.Fail(err)
}

// lossOf returns the sentinel for a request: it depends on whether any of it was written.
func lossOf(m queued, written int) error {
	switch {
	case m.start >= written:
		return ErrUnavailable
	case m.request.IsNotification():
		return ErrUnconfirmed
	}
	return ErrReplyLost
}

// sent notes that all was written, or that the stream failed before the last rest bytes. After
// a failure it returns what waits, and why the stream has failed.
func (w *streamWriter) sent(rest int, err error) (waiting outgoing, cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.host.nowait(w.sending.replies)
	w.sending = volume{}
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
	if err == nil && w.end.cutOff { // while the last bytes were written
		err = w.end.err
	}
	if err == nil {
		return waiting, nil
	}
	if w.end.err == nil {
		w.end.err = err
	}
	w.end.unsent += rest + w.queued()
	w.host.nowait(w.replies)
	waiting, w.buffers.queue, w.replies = w.buffers.queue, outgoing{}, 0
	return waiting, w.end.err
}

// waitForRoom waits while too many answers wait to be sent.
func (w *streamWriter) waitForRoom(ctx context.Context) error {
	for {
		w.mu.Lock()
		if w.replies+w.sending.replies <= maxReplies || w.end.err != nil || w.closed {
			w.mu.Unlock()
			return nil
		}
		if w.room == nil {
			w.room = make(chan struct{})
		}
		room := w.room
		w.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *streamWriter) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.end.err
}

// unsentErr returns an error if something could not be sent. It is called when the goroutine
// has ended.
func (w *streamWriter) unsentErr() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.end.unsent == 0:
		return nil
	case w.end.stalled:
		return fmt.Errorf("jsonrpc2: stream closed with %d bytes unsent: the peer took nothing more for %v", w.end.unsent, closeGrace)
	}
	return fmt.Errorf("jsonrpc2: stream closed with %d bytes unsent: %w", w.end.unsent, w.end.err)
}
