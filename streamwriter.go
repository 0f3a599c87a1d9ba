package jsonrpc2

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

// A streamWriter sends what is handed over on a goroutine of its own: all that
// waits, in one write.
type streamWriter struct {
	w      io.WriteCloser
	piece  int    // bytes written in one go
	failed func() // called when a write has failed
	reply  func([]byte) error
	wake   chan struct{} // holds one if there may be something to do
	done   chan struct{} // closed when the goroutine has ended

	mu             sync.Mutex    // protects following
	buf            []byte        // waits
	replies        int           // bytes of answers in buf
	sending        int           // bytes being written
	sendingReplies int           // bytes of answers among them
	room           chan struct{} // closed when something was sent; nil if nobody waits
	written        int64         // bytes that the stream has taken
	unsent         int           // bytes that were given up
	err            error
	stalled        bool // they were as the peer took no more
	closed         bool
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
		return w.write(body, true)
	}
	w.wake = make(chan struct{}, 1)
	w.done = make(chan struct{})
	go w.run()
}

// write hands a message over. Answers are not limited here: waitForRoom holds
// back what would cause more of them.
func (w *streamWriter) write(body []byte, reply bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return w.err
	case w.closed:
		return net.ErrClosed
	case !reply && len(w.buf)+w.sending+len(body) > maxWaiting:
		return ErrOverloaded
	}
	w.buf = append(append(w.buf, body...), '\n')
	if reply {
		w.replies += len(body)
	}
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
	var buf []byte
	for range w.wake {
		settle(w.waiting)
		var more bool
		if buf, more = w.take(buf); len(buf) > 0 {
			err := w.send(buf)
			more = more && err == nil
		}
		if !more {
			return
		}
	}
}

// settle lets callers that are about to hand something over do so, as long as
// some do. net/rpc hands over one message after the other: a writer that did
// not yield would send each alone. The second yield is for those who are woken
// meanwhile.
func settle(waiting func() int) {
	for range 16 {
		before := waiting()
		runtime.Gosched()
		runtime.Gosched()
		if waiting() == before {
			return
		}
	}
}

func (w *streamWriter) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.buf)
}

// take takes what waits and leaves spare in its place. There will be no more
// after the end.
func (w *streamWriter) take(spare []byte) (buf []byte, more bool) {
	if cap(spare) > maxKeptBuffer {
		spare = nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	buf, w.buf = w.buf, spare[:0]
	w.sending, w.sendingReplies, w.replies = len(buf), w.replies, 0
	return buf, !w.closed
}

// send writes what was taken, piece by piece, so that progress shows.
func (w *streamWriter) send(buf []byte) (err error) {
	rest := buf
	for len(rest) > 0 && err == nil {
		var n int
		n, err = w.w.Write(rest[:min(len(rest), w.piece)])
		rest = rest[n:]
		w.mu.Lock()
		w.written += int64(n)
		w.mu.Unlock()
	}
	w.sent(len(rest), err)
	return err
}

// sent notes that all was written, or that the stream failed before the rest.
func (w *streamWriter) sent(rest int, err error) {
	w.mu.Lock()
	w.sending, w.sendingReplies = 0, 0
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
	if err == nil {
		w.mu.Unlock()
		return
	}
	if w.err == nil {
		w.err = err
	}
	w.unsent += rest + len(w.buf)
	w.mu.Unlock()
	_ = w.w.Close() // the reader is to see it, too
	w.failed()
}

// waitForRoom waits while too many answers wait to be sent.
func (w *streamWriter) waitForRoom(ctx context.Context) error {
	for {
		w.mu.Lock()
		if w.replies+w.sendingReplies <= maxReplies || w.err != nil || w.closed {
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

// lost returns an error if something that was handed over could not be sent. It is
// for after the end of the goroutine.
func (w *streamWriter) lost() error {
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
	bytes int   // that the peer has not taken
	lost  bool  // they would be lost with the stream
	err   error // the stream is broken
}

// close takes no more, and waits for what was taken to reach the peer, for as long as
// that makes progress within grace.
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
		case done == nil && (held.bytes == 0 || !held.lost):
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

// A progress is how far the peer has come: it changes while something arrives.
type progress struct {
	written int64
	held    int
}

func (w *streamWriter) bytesWritten() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written
}

// giveUp notes that the rest is lost: of an error, or as the peer takes no more.
func (w *streamWriter) giveUp(held backlog, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if held.lost {
		w.unsent += held.bytes
	}
	w.stalled = err == nil
	if w.err == nil {
		w.err = err
	}
}
