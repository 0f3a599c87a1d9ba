package jsonrpc2

import (
	"errors"
	"time"
)

// A backlog is what the system holds of what was written.
type backlog struct {
	bytes       int   // that the peer has not taken
	lostOnClose bool  // they are lost when the stream is closed
	err         error // why the stream is broken; nil: it is not
}

// close makes write return net.ErrClosed, and waits until the peer has all that was accepted.
// It gives up when grace passes without progress, and when grace passes after hurry was
// closed.
func (w *streamWriter) close(grace time.Duration, held func() backlog, hurry <-chan struct{}) {
	done, pause := w.refuse(), time.Millisecond
	timer := time.NewTimer(pause)
	defer timer.Stop()
	var before progress
	var since, hurried time.Time
	if isClosed(done) {
		done = nil
	}
	for {
		held := held()
		now := progress{w.bytesWritten(), held.bytes}
		switch {
		case done == nil && (held.bytes == 0 || !held.lostOnClose):
			return
		case held.err != nil:
			w.giveUp(held, held.err)
			return
		case !hurried.IsZero() && time.Since(hurried) >= grace:
			w.giveUp(held, errHurried)
			return
		case since.IsZero() || now != before:
			before, since = now, time.Now()
		case time.Since(since) >= grace:
			w.giveUp(held, nil)
			return
		}
		timer.Reset(min(pause, grace-time.Since(since)))
		pause = min(2*pause, grace/20)
		select {
		case <-done:
			done = nil
		case <-hurry:
			hurry, hurried = nil, time.Now()
		case <-timer.C:
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

var errHurried = errors.New("the peer reads too slowly for the drain")

// refuse makes write return net.ErrClosed. The channel is closed when all was written, or
// the stream has failed.
func (w *streamWriter) refuse() (done <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.idle = make(chan struct{})
	if !w.running {
		close(w.idle)
	}
	return w.idle
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
		w.end.unsent += held.bytes
	}
	w.end.stalled = err == nil
	if w.end.err == nil {
		w.end.err = err
	}
}
