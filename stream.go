package jsonrpc2

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A StreamConn carries messages over a stream: a TCP or Unix socket, a pipe, or standard
// input and output. It is a [ClientConn] and a [ServerConn]: give it to [NewClient] or to
// [Serve]. [ServeListener] makes one for each connection that a listener accepts; for other
// streams, call Serve for each.
//
// Messages follow one another. The Conn writes a newline after each, and needs none to
// read. A server answers a broken text with CodeParse and a null id; a client drops it.
// Both read on after the next newline. A text longer than MaxMessageSize is refused and
// skipped; it is not kept in memory.
//
// A stream breaks when a read or a write fails, and is of no use then. On the client, the
// calls under way fail with ErrReplyLost, and the notifications with ErrUnconfirmed. If it was
// a write that failed, the requests of which nothing was written fail with ErrUnavailable
// instead. On the server, the [Context] of each running call is done.
//
// When the peer closes its sending side, a client ends, too: its calls fail with ErrReplyLost.
// A server still answers the calls that run, since the peer may still read.
//
// The Conn notices that a stream is broken only when it reads or writes. Under Serve, a
// server does not read while MaxInFlight calls run, in a drain, and after the peer has closed
// its sending side. [ServeListener] notices more.
//
// In a drain, requests that have come and have not begun are not run. Their calls fail with
// ErrReplyLost when the server closes the stream.
//
// On a client, a request fails with ErrOverloaded while 16 MiB wait to be written. A server
// takes no more requests while more than 1 MiB of answers wait for a peer that does not read.
// The answers of running calls are still added to them. So such a peer may cost MaxInFlight
// times MaxMessageSize of memory: set both lower where strangers connect.
//
// All methods but Err and Close are for the codec.
type StreamConn struct {
	rwc    io.ReadWriteCloser
	host   *streamHost // nil: a stream by itself
	opened atomic.Bool
	in     frameReader // the reading goroutine's own
	source source
	out    streamWriter

	ahead   *aheadReader          // nil: none; the reading goroutine's own
	reads   readState             // used if there is a host
	readErr atomic.Pointer[error] // what ended the reading; nil while it goes on

	unbroken context.Context // done when a read or a write has failed, or by Close
	breakOff context.CancelFunc
	ctx      context.Context // unbroken, with the values of the ctx of ReadRequest; nil before
	origin   Origin          // of all messages

	closing sync.Once
	closed  chan struct{} // closed by Close
}

var (
	_ ClientConn = (*StreamConn)(nil)
	_ ServerConn = (*StreamConn)(nil)
)

// NewStreamConn returns a StreamConn over rwc. The Conn's Close closes rwc. That must make a
// Write that hangs return.
//
// If rwc has a SetReadDeadline that works, as a net.Conn has, the Conn interrupts a Read by
// it, and resets the deadline. Any other stream, such as standard input, is read by a
// goroutine that ends when Read returns. On some streams Close can't make Read return: the
// goroutine may then last as long as the process.
func NewStreamConn(rwc io.ReadWriteCloser) *StreamConn { return newStreamConn(rwc, nil) }

func newStreamConn(rwc io.ReadWriteCloser, host *streamHost) *StreamConn {
	c := &StreamConn{rwc: rwc, host: host, closed: make(chan struct{}), origin: &streamOrigin{rwc}}
	c.unbroken, c.breakOff = context.WithCancel(context.Background())
	c.in.limit = DefaultMaxMessageSize
	if host != nil {
		c.in.spare = &host.readBuffers
	}
	c.out.moved = host.now()
	c.reads.last.Store(int64(host.now()))
	c.source = newSource(rwc, c.unbroken.Done(), host)
	c.out.init(rwc, host, c.breakOff)
	return c
}

const (
	maxWaiting = 16 << 20        // bytes of requests that may wait to be sent
	maxReplies = 1 << 20         // bytes of answers that may wait while more requests are read
	closeGrace = 2 * time.Second // without progress, before Close gives up
)

// Open implements ClientConn and ServerConn.
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
	return Delivery{Body: body, Reply: c.out.reply, Context: c.ctx, Origin: c.origin}, err
}

// A streamOrigin is the Origin of all messages of a stream.
type streamOrigin struct{ rwc io.ReadWriteCloser }

// Header implements Origin: a stream has none.
func (o *streamOrigin) Header(string) string { return "" }

// Peer implements Origin.
func (o *streamOrigin) Peer() (peer Peer) {
	if conn, ok := o.rwc.(net.Conn); ok && conn.RemoteAddr() != nil {
		peer.Addr = conn.RemoteAddr().String()
	}
	if secure, ok := o.rwc.(interface{ ConnectionState() tls.ConnectionState }); ok {
		state := secure.ConnectionState()
		peer.TLS = &state
	}
	return peer
}

// read returns the next message: a text, a broken one, or the beginning of one that is too long.
func (c *StreamConn) read(ctx context.Context) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for {
		if body, ok := c.in.next(); ok {
			return body, nil
		}
		if err := c.readErr.Load(); err != nil {
			return nil, *err
		}
		err := c.fill(ctx)
		switch {
		case err == nil:
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return nil, err
		default:
			c.endReading(err)
		}
	}
}

// fill reads more into c.in, and notes when, for the listener's IdleTimeout.
func (c *StreamConn) fill(ctx context.Context) error {
	if c.host != nil {
		c.reads.waits.Store(true)
		defer c.reads.waits.Store(false)
		defer func() { c.reads.last.Store(int64(c.host.now())) }()
	}
	n, err := c.readMore(ctx)
	c.in.extend(n)
	if n > 0 && err == io.EOF { // the next read returns it: what came first is served first
		return nil
	}
	return err
}

// endReading notes what ended the reading: an error of the source. It ends the contexts of
// running calls, unless a stream without a host has come to its end: the peer may still read.
func (c *StreamConn) endReading(err error) {
	c.source.close()
	final := c.final(err)
	c.readErr.Store(&final)
	if err != io.EOF || c.host != nil {
		c.breakOff()
	}
	c.in.atEOF = err == io.EOF // perhaps in the middle of a text
}

// A valued is a context with the values of another one. Values of Context come first: package
// context recognizes its own contexts by one, and then needs no goroutine for a child.
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

// final returns the error that ReadReply and ReadRequest return for an error of the source.
func (c *StreamConn) final(err error) error {
	if isClosed(c.closed) {
		return io.EOF
	}
	if c.reads.idle.Load() && errors.Is(err, os.ErrDeadlineExceeded) {
		return io.EOF
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

// Inquire implements ClientConn. It knows nothing of what was sent, and returns nil.
func (c *StreamConn) Inquire(context.Context, []*Request) []error { return nil }

// Err implements ClientConn and ServerConn. It returns io.EOF when the peer has closed its
// sending side.
func (c *StreamConn) Err() error {
	if isClosed(c.closed) {
		return net.ErrClosed
	}
	if err := c.out.failure(); err != nil {
		return err
	}
	if err := c.readErr.Load(); err != nil {
		return *err
	}
	return nil
}

// Close sends what was accepted, and closes the stream. It waits for a peer that reads
// slowly, and gives up when 2 s pass without progress. It returns an error if it could not
// send all. Otherwise it returns the error of the stream's own Close, unless the stream had
// ended before.
//
// On Linux a socket makes progress when the peer's system takes bytes. Elsewhere each
// Write that returns is progress. A Write gets up to 64 KiB on a socket or a file, and up to
// 4 KiB on other streams: a peer that reads less than about 50 kB/s may seem to make no
// progress.
func (c *StreamConn) Close() error {
	var err error
	c.closing.Do(func() {
		c.out.close(closeGrace, func() backlog { return backlogOf(c.rwc) }, c.host.graceOver())
		close(c.closed)
		c.breakOff()
		closeErr := c.rwc.Close()
		<-c.out.idle
		if c.host != nil { // then the goroutine that reads calls Close; else it may be reading still
			c.waitForReads()
		}
		err = c.out.unsentErr()
		if err == nil && c.readErr.Load() == nil {
			err = closeErr
		}
	})
	return err
}

// waitForReads waits for the goroutines that read for the reading goroutine, which calls it
// when the stream is closed.
func (c *StreamConn) waitForReads() {
	c.source.wait()
	c.endAhead()
}
