package jsonrpc2

import (
	"context"
	"errors"
)

// maxAhead is how many bytes a stream reads ahead. A frameReader has room for them.
const maxAhead = minRead

// An aheadReader reads on a goroutine of its own while the codec waits for something else,
// so that the end of the stream does not go unnoticed. It stops when maxAhead bytes have
// come, or when the codec reads again.
type aheadReader struct {
	ctx  context.Context // done when the goroutine is to end
	stop context.CancelFunc
	done chan struct{} // closed when the goroutine has ended

	buf [maxAhead]byte // the goroutine's own until done is closed, as the following
	n   int            // bytes that have come
	err error          // why no more have
}

// readAhead begins to read ahead, unless that was begun before. The reading goroutine calls
// it, as it does noticeEnd, endAhead and readMore.
func (c *StreamConn) readAhead(ctx context.Context) {
	if c.ahead != nil || c.readErr.Load() != nil {
		return
	}
	a := &aheadReader{done: make(chan struct{})}
	a.ctx, a.stop = context.WithCancel(ctx)
	c.ahead = a
	go a.run(c.source, c.breakOff)
}

// noticeEnd reads on in a drain, to notice the end of the peer: the contexts of its calls are
// then done. It ends at Close, or after maxAhead bytes. What comes is dropped.
func (c *StreamConn) noticeEnd() {
	c.endAhead()
	c.ahead = nil
	c.readAhead(context.Background())
}

// endAhead ends what readAhead has begun, and waits for its goroutine.
func (c *StreamConn) endAhead() {
	if c.ahead != nil {
		c.ahead.stop()
		<-c.ahead.done
	}
}

// readMore takes what was read ahead, or else reads from the source.
func (c *StreamConn) readMore(ctx context.Context) (int, error) {
	if c.ahead != nil {
		c.endAhead()
		a := c.ahead
		c.ahead = nil
		n := copy(c.in.space(), a.buf[:a.n])
		if n > 0 || a.err != nil {
			return n, a.err
		}
	}
	return c.source.read(ctx, &c.in)
}

// run reads until a.ctx is done or a.buf is full. It calls broken if the stream ends.
func (a *aheadReader) run(source source, broken func()) {
	defer close(a.done)
	for a.err == nil && a.n < maxAhead {
		var n int
		n, a.err = source.read(a.ctx, a)
		a.n += n
	}
	switch stopped := a.ctx.Err(); {
	case a.err == nil:
	case stopped != nil && errors.Is(a.err, stopped):
		a.err = nil
	default:
		broken()
	}
}

// space implements readSpace.
func (a *aheadReader) space() []byte { return a.buf[a.n:] }

// rest implements readSpace.
func (a *aheadReader) rest() {}
