package jsonrpc2

import (
	"errors"
	"time"
)

// A backlog is what the system still holds of what was written, as far as that is known.
type backlog struct {
	bytes       int   // that the peer has not taken
	lostOnClose bool  // they are lost when the stream is closed
	err         error // why the stream is broken; nil: it is not
}

// close makes write return net.ErrClosed, and waits until the peer has all that was accepted.
// It gives up when grace has passed without progress, or since hurry was closed. It polls: no
// system tells when the peer has taken something.
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

// refuse makes write return net.ErrClosed. done is closed when all was written, or the stream
// has failed.
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

// A progress says how far the writing is: it changes while the peer takes something.
type progress struct {
	written int64 // bytes that the system has taken
	held    int   // bytes of these that it still holds
}

func (w *streamWriter) bytesWritten() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written
}

// giveUp notes that the rest is lost: because of err or, if that is nil, because the peer
// takes no more. The Close of the stream then ends the write under way.
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
