package jsonrpc2

import (
	"context"
	"sync"
)

// maxAhead is how many bytes a stream reads ahead.
const maxAhead = 4 << 10

// An aheadReader reads on a goroutine of its own while the codec waits for something else,
// so that the end of the stream does not go unnoticed. It stops when maxAhead bytes have
// come. When the codec reads again, it takes what has come, and stops with the next bytes.
type aheadReader struct {
	come chan struct{} // receives if there may be news
	done chan struct{} // closed when the goroutine has ended

	mu       sync.Mutex // protects following
	buf      [maxAhead]byte
	from, to int // what has come and was not taken; behind it is the goroutine's own
	err      error
	wanted   bool // the codec reads again
	ended    bool // nothing more comes
}

// readAhead begins to read ahead, unless that goes on from before. It is for the goroutine
// that reads.
func (c *StreamConn) readAhead(ctx context.Context) {
	if c.ahead != nil || c.readErr.Load() != nil {
		return
	}
	c.ahead = &aheadReader{come: make(chan struct{}, 1), done: make(chan struct{})}
	go c.ahead.run(ctx, c.source, c.breakOff)
}

// noticeEnd reads on in a drain, since calls that run need not go on when their peer has
// gone. What comes is of no use.
func (c *StreamConn) noticeEnd() {
	if c.ahead != nil { // it ends with the drain
		<-c.ahead.done
		c.ahead = nil
	}
	c.readAhead(context.Background())
}

// readMore is a read of the source, or takes what was read ahead.
func (c *StreamConn) readMore(ctx context.Context) (int, error) {
	if c.ahead != nil {
		if n, ok, err := c.ahead.take(c.in.space()); ok {
			return n, err
		}
		c.ahead = nil
	}
	return c.source.read(ctx, &c.in)
}

// run reads. It calls broken if the stream ends.
func (a *aheadReader) run(ctx context.Context, source source, broken func()) {
	defer close(a.done)
	for last := false; !last; {
		n, err := source.read(ctx, a)
		if err != nil && ctx.Err() == nil {
			broken()
		}
		last = a.add(n, err)
	}
}

// space implements readSpace. Only the goroutine itself changes to.
func (a *aheadReader) space() []byte { return a.buf[a.to:] }

// rest implements readSpace.
func (a *aheadReader) rest() {}

// add adds what was read, and reports whether that was the last.
func (a *aheadReader) add(n int, err error) (last bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.to += n
	a.err = err
	a.ended = err != nil || a.wanted || a.to == maxAhead
	select {
	case a.come <- struct{}{}:
	default:
	}
	return a.ended
}

// take waits for what has come, and its error. ok is false if nothing more comes from here.
func (a *aheadReader) take(p []byte) (n int, ok bool, err error) {
	for {
		a.mu.Lock()
		a.wanted = true
		n = copy(p, a.buf[a.from:a.to])
		a.from += n
		ended := a.ended
		if ended && a.from == a.to {
			err = a.err
		}
		a.mu.Unlock()
		if n > 0 || ended {
			return n, n > 0 || err != nil, err
		}
		<-a.come
	}
}
