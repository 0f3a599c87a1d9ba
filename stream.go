package jsonrpc2

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// NewStreamConn returns a Conn over a stream: a TCP or Unix socket, a pipe,
// standard input and output. JSON texts follow one another; it writes a newline
// behind each and needs none. It calls as well as serves, whichever codec it is
// given to.
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
func NewStreamConn(rwc io.ReadWriteCloser) Conn {
	c := &streamConn{rwc: rwc, closed: make(chan struct{})}
	c.unbroken, c.breaks = context.WithCancel(context.Background())
	c.in.limit = DefaultMaxMessageSize
	c.source = newSource(rwc, c.closed)
	c.out.init(rwc, c.breaks)
	return c
}

type streamConn struct {
	rwc    io.ReadWriteCloser
	in     frameReader
	source source
	out    streamWriter
	err    error // what ended the reading
	ended  atomic.Bool

	unbroken context.Context // done when a read or a write has failed
	breaks   context.CancelFunc
	ctx      context.Context // unbroken, with the values of what is served under

	closing sync.Once
	closed  chan struct{}
}

const (
	maxWaiting = 16 << 20 // bytes that wait to be sent
	maxReplies = 1 << 20  // bytes of answers that wait, to read on
	closeGrace = 2 * time.Second
)

// SetLimits makes the stream refuse longer texts without keeping them.
func (c *streamConn) SetLimits(l Limits) { c.in.limit = l.MessageSize }

func (c *streamConn) ReadMessage(ctx context.Context) (Message, error) {
	if err := c.out.waitForRoom(ctx); err != nil {
		return Message{}, err
	}
	if err := ctx.Err(); err != nil {
		return Message{}, err
	}
	if c.ctx == nil {
		c.ctx = valued{c.unbroken, ctx}
	}
	for {
		if body, ok := c.in.next(); ok {
			return c.message(body), nil
		}
		if c.err != nil {
			return Message{}, c.err
		}
		n, err := c.source.read(ctx, c.in.space())
		c.in.extend(n)
		switch {
		case err == nil:
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return Message{}, err
		default:
			c.end(err)
		}
	}
}

func (c *streamConn) message(body []byte) Message {
	return Message{Body: body, Reply: c.out.reply, Context: c.ctx}
}

// end notes what ended the reading.
func (c *streamConn) end(err error) {
	c.source.close()
	c.err = c.final(err)
	c.ended.Store(true)
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
func (c *streamConn) final(err error) error {
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

func (c *streamConn) WriteMessage(_ context.Context, body []byte) error {
	return c.out.write(body, false)
}

// Close returns what went wrong with what was handed over, else the error of the
// stream's own Close, unless the stream had ended before.
func (c *streamConn) Close() error {
	var err error
	c.closing.Do(func() {
		c.out.close(closeGrace, func() backlog { return backlogOf(c.rwc) })
		close(c.closed)
		closeErr := c.rwc.Close()
		<-c.out.done
		err = c.out.lost()
		if err == nil && !c.ended.Load() {
			err = closeErr
		}
		c.breaks()
	})
	return err
}
