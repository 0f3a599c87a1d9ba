package jsonrpc2

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/yield"
)

// A streamWriter sends messages on a goroutine of its own: all that wait, in one write.
type streamWriter struct {
	w      io.WriteCloser
	piece  int    // bytes written in one go
	failed func() // called when a write has failed
	reply  func([]byte) error
	wake   chan struct{} // receives if there may be something to do
	done   chan struct{} // closed when the goroutine has ended

	mu        sync.Mutex          // protects following
	buf       []byte              // waits
	messages  []queued            // those in buf
	tellCodec func([]byte, error) // of an answer that is lost; nil before Open
	replies   int                 // bytes of answers in buf
	sending   volume              // being written
	room      chan struct{}       // closed when something was sent; nil if nobody waits
	written   int64               // bytes that the stream has taken
	unsent    int                 // bytes that were given up
	err       error               // of a write, or of the stream when it was closed
	stalled   bool                // the peer took no more, so bytes were given up
	closed    bool
}

// A volume is so many bytes, and how many of them are of answers.
type volume struct{ bytes, replies int }

// A queued message is in a buffer of the writer's.
type queued struct {
	request *Request // nil: an answer
	start   int      // where it begins
}

// pieceFor returns how much is written in one go: each piece that is written is
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

func (w *streamWriter) init(wc io.WriteCloser, failed func()) {
	w.w, w.piece, w.failed = wc, pieceFor(wc), failed
	w.reply = func(body []byte) error {
		if body == nil {
			return nil
		}
		return w.write(body, nil)
	}
	w.wake = make(chan struct{}, 1)
	w.done = make(chan struct{})
	go w.run()
}

// open sets what tells the codec of an answer that is lost.
func (w *streamWriter) open(lost func(body []byte, why error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tellCodec = lost
}

// write queues a message: a request, or an answer if r is nil. It does not limit answers:
// waitForRoom holds back the requests that would cause more of them.
func (w *streamWriter) write(body []byte, r *Request) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return w.err
	case w.closed:
		return net.ErrClosed
	case r != nil && len(w.buf)+w.sending.bytes+len(body) > maxWaiting:
		return ErrOverloaded
	}
	w.messages = append(w.messages, queued{r, len(w.buf)})
	if r == nil {
		w.replies += len(body)
	}
	w.buf = append(append(w.buf, body...), '\n')
	w.signal()
	return nil
}

func (w *streamWriter) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run sends until the stream fails or is closed and all is sent.
func (w *streamWriter) run() {
	defer close(w.done)
	var out outgoing
	for range w.wake {
		yield.WhileGrowing(w.waiting)
		var more bool
		if out, more = w.take(out); len(out.buf) > 0 {
			err := w.send(out)
			clear(out.messages) // they would stay alive
			more = more && err == nil
		}
		if !more {
			return
		}
	}
}

// outgoing is what is sent in one go.
type outgoing struct {
	buf      []byte
	messages []queued
}

func (w *streamWriter) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.buf)
}

// take takes what waits, and leaves the spare buffers in its place. more reports whether
// more may come: not after close.
func (w *streamWriter) take(spare outgoing) (out outgoing, more bool) {
	if cap(spare.buf) > maxKeptBuffer {
		spare.buf = nil
	}
	if cap(spare.messages) > maxKeptItems {
		spare.messages = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	out = outgoing{w.buf, w.messages}
	w.buf, w.messages = spare.buf[:0], spare.messages[:0]
	w.sending, w.replies = volume{len(out.buf), w.replies}, 0
	return out, !w.closed
}

// send writes what was taken, piece by piece, so that progress shows.
func (w *streamWriter) send(out outgoing) (err error) {
	rest := out.buf
	for len(rest) > 0 && err == nil {
		var n int
		n, err = w.w.Write(rest[:min(len(rest), w.piece)])
		rest = rest[n:]
		w.mu.Lock()
		w.written += int64(n)
		w.mu.Unlock()
	}
	waiting := w.sent(len(rest), err)
	if err == nil {
		for _, m := range out.messages {
			if m.request != nil {
				m.request.Sent()
			}
		}
		return nil
	}
	w.fail(out, len(out.buf)-len(rest), err)
	w.fail(waiting, 0, err)
	_ = w.w.Close() // so that the reader ends, too
	w.failed()
	return err
}

// fail ends the requests, and tells the codec of the answers, among messages of which so
// many bytes were written before the stream broke.
func (w *streamWriter) fail(out outgoing, written int, err error) {
	for i, m := range out.messages {
		end := len(out.buf)
		if i+1 < len(out.messages) {
			end = out.messages[i+1].start
		}
		switch {
		case m.request != nil:
			m.request.Fail(fmt.Errorf("%w: the stream broke: %w", lossOf(m, written), err))
		case end > written && w.tellCodec != nil:
			w.tellCodec(out.buf[m.start:end-len("\n")], err)
		}
	}
}

// lossOf returns what the failure of a request is, as far as it was written.
func lossOf(m queued, written int) error {
	switch {
	case m.start >= written:
		return ErrUnavailable
	case m.request.IsNotification():
		return ErrUnconfirmed
	}
	return ErrReplyLost
}

// sent notes that all was written, or that the stream failed before the rest. It then
// returns what waits.
func (w *streamWriter) sent(rest int, err error) (waiting outgoing) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sending = volume{}
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
	if err == nil {
		return waiting
	}
	if w.err == nil {
		w.err = err
	}
	w.unsent += rest + len(w.buf)
	waiting = outgoing{w.buf, w.messages}
	w.buf, w.messages = nil, nil
	return waiting
}

// waitForRoom waits while too many answers wait to be sent.
func (w *streamWriter) waitForRoom(ctx context.Context) error {
	for {
		w.mu.Lock()
		if w.replies+w.sending.replies <= maxReplies || w.err != nil || w.closed {
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
		case <-w.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *streamWriter) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// unsentErr returns an error if something could not be sent. It is called when the goroutine
// has ended.
func (w *streamWriter) unsentErr() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.unsent == 0:
		return nil
	case w.stalled:
		return fmt.Errorf("jsonrpc2: stream closed with %d bytes unsent: the peer took nothing more for %v", w.unsent, closeGrace)
	}
	return fmt.Errorf("jsonrpc2: stream closed with %d bytes unsent: %w", w.unsent, w.err)
}

// A backlog is what the system holds of what was written.
type backlog struct {
	bytes       int   // that the peer has not taken
	lostOnClose bool  // they are lost when the stream is closed
	err         error // why the stream is broken; nil: it is not
}

// close makes write return net.ErrClosed, and waits until the peer has all that was accepted.
// It gives up when grace passes without progress.
func (w *streamWriter) close(grace time.Duration, held func() backlog) {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
	timer := time.NewTimer(0)
	defer timer.Stop()
	done, pause := w.done, time.Millisecond
	var before progress
	var since time.Time
	for {
		select {
		case <-done:
			done = nil
		case <-timer.C:
		}
		held := held()
		now := progress{w.bytesWritten(), held.bytes}
		switch {
		case done == nil && (held.bytes == 0 || !held.lostOnClose):
			return
		case held.err != nil:
			w.giveUp(held, held.err)
			return
		case since.IsZero() || now != before:
			before, since = now, time.Now()
		case time.Since(since) >= grace:
			w.giveUp(held, nil)
			return
		}
		timer.Reset(min(pause, grace-time.Since(since)))
		pause = min(2*pause, grace/20)
	}
}

// A progress is how much the peer has taken: it changes while something arrives.
type progress struct {
	written int64
	held    int
}

func (w *streamWriter) bytesWritten() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written
}

// giveUp notes that the rest is lost: by an error or, if err is nil, because the peer takes
// no more.
func (w *streamWriter) giveUp(held backlog, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if held.lostOnClose {
		w.unsent += held.bytes
	}
	w.stalled = err == nil
	if w.err == nil {
		w.err = err
	}
}
