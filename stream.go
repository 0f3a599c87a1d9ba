package jsonrpc2

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// A StreamConn carries messages over a stream: a TCP or Unix socket, a pipe, standard
// input and output. It is a [ClientConn] as well as a [ServerConn], and calls or serves
// as the codec does that it is given to. JSON texts follow one another; it writes a
// newline behind each and needs none.
//
// A broken text is answered with CodeParse and a null id, and the stream goes
// on behind the next newline. A text over the codec's MaxMessageSize is refused
// and skipped, without being kept.
//
// Where a call's arguments embed a [Context], that is done when the stream breaks:
// when a read or a write fails. The end of what the peer sends is no such failure:
// it may still read, and is answered.
//
// A broken stream is seen by reading or writing: not while MaxInFlight calls run,
// in a drain, or when the peer has closed its sending side before.
//
// Close returns an error if it could not send all that was handed over: it waits for
// a peer that reads slowly, and gives up when 2 s pass without progress. (Sockets show
// it on Linux as the peer's system takes what was sent; else each Write does, of 4 or
// 64 KiB. A peer slower than some 50 kB/s may show none.)
//
// Where rwc has a SetReadDeadline that works, as a net.Conn has, the Conn uses
// it to stop reading, and resets it; Close must make a Write that hangs return.
// Else, as with standard input, a goroutine reads in its place; it ends when its
// Read does, which Close can't hasten on every kind of stream: it may last as
// long as the process.
//
// The Conn takes no further request while answers of more than 1 MiB wait for a
// peer that doesn't read them; those of the calls that run still join them. Such a
// peer may cost MaxInFlight times MaxMessageSize: where strangers connect, set both
// lower.
//
// A request that could not be written fails with ErrUnavailable, one that was written in
// part with ErrReplyLost. The stream is of no use then, and closed.
type StreamConn struct {
	rwc    io.ReadWriteCloser
	opened atomic.Bool
	in     frameReader
	source source
	out    streamWriter
	err    error                 // what ended the reading
	ended  atomic.Pointer[error] // the same, for Err

	unbroken context.Context // done when a read or a write has failed, or by Close
	breaks   context.CancelFunc
	ctx      context.Context // unbroken, with the values of what is served under

	closing sync.Once
	closed  chan struct{}
}

var (
	_ ClientConn = (*StreamConn)(nil)
	_ ServerConn = (*StreamConn)(nil)
)

// NewStreamConn returns a StreamConn over rwc.
func NewStreamConn(rwc io.ReadWriteCloser) *StreamConn {
	c := &StreamConn{rwc: rwc, closed: make(chan struct{})}
	c.unbroken, c.breaks = context.WithCancel(context.Background())
	c.in.limit = DefaultMaxMessageSize
	c.source = newSource(rwc, c.unbroken.Done())
	c.out.init(rwc, c.breaks)
	return c
}

const (
	maxWaiting = 16 << 20 // bytes that wait to be sent
	maxReplies = 1 << 20  // bytes of answers that wait, to read on
	closeGrace = 2 * time.Second
)

// Open implements ClientConn and ServerConn. The stream refuses longer texts than
// Settings.MessageSize without keeping them.
func (c *StreamConn) Open(s Settings) error {
	if c.opened.Swap(true) {
		return ErrOpened
	}
	c.in.limit = s.MessageSize
	c.out.open(s.Lost)
	return nil
}

// ReadReply implements ClientConn.
func (c *StreamConn) ReadReply(ctx context.Context) (Reply, error) {
	body, err := c.read(ctx)
	return Reply{Body: body}, err
}

// ReadRequest implements ServerConn.
func (c *StreamConn) ReadRequest(ctx context.Context) (Delivery, error) {
	if err := c.out.waitForRoom(ctx); err != nil {
		return Delivery{}, err
	}
	if c.ctx == nil {
		c.ctx = valued{c.unbroken, ctx}
	}
	body, err := c.read(ctx)
	return Delivery{Body: body, Reply: c.out.reply, Context: c.ctx}, err
}

// read returns the next text.
func (c *StreamConn) read(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for {
		if body, ok := c.in.next(); ok {
			return body, nil
		}
		if c.err != nil {
			return nil, c.err
		}
		n, err := c.source.read(ctx, c.in.space())
		c.in.extend(n)
		switch {
		case err == nil:
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return nil, err
		default:
			c.end(err)
		}
	}
}

// end notes what ended the reading.
func (c *StreamConn) end(err error) {
	c.source.close()
	c.err = c.final(err)
	c.ended.Store(&c.err)
	if err != io.EOF {
		c.breaks()
		return
	}
	c.in.ended = true // perhaps in the middle of a text
}

// A valued is a context with the values of another. Its own come first, or package
// context would not know it for one of its own and need a goroutine for each child.
type valued struct {
	context.Context
	values context.Context
}

func (v valued) Value(key any) any {
	if value := v.Context.Value(key); value != nil {
		return value
	}
	return v.values.Value(key)
}

// final returns the error to end with for one from the stream.
func (c *StreamConn) final(err error) error {
	select {
	case <-c.closed:
		return io.EOF
	default:
	}
	if werr := c.out.failure(); werr != nil && err != io.EOF {
		return werr // a failed write closes the stream
	}
	return err
}

// WriteRequest implements ClientConn.
func (c *StreamConn) WriteRequest(r *Request) error {
	return c.out.write(r.Body, r)
}

// Inquire implements ClientConn. Nothing is known of what was sent.
func (c *StreamConn) Inquire(context.Context, []*Request) []error { return nil }

// Err implements ClientConn and ServerConn. It is io.EOF when the peer has closed its
// sending side.
func (c *StreamConn) Err() error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
	}
	if err := c.out.failure(); err != nil {
		return err
	}
	if err := c.ended.Load(); err != nil {
		return *err
	}
	return nil
}

// Close returns what went wrong with what was handed over, else the error of the
// stream's own Close, unless the stream had ended before.
func (c *StreamConn) Close() error {
	var err error
	c.closing.Do(func() {
		c.out.close(closeGrace, func() backlog { return backlogOf(c.rwc) })
		close(c.closed)
		c.breaks()
		closeErr := c.rwc.Close()
		<-c.out.done
		err = c.out.lost()
		if err == nil && c.ended.Load() == nil {
			err = closeErr
		}
	})
	return err
}
