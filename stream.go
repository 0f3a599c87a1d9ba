package jsonrpc2

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
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
// Where rwc has a SetReadDeadline that works, as a net.Conn has, the Conn uses
// it to stop reading, and resets it; Close must make a Write that hangs return.
// Else, as with standard input, a goroutine reads in its place; it ends when its
// Read does, which Close can't hasten on every kind of stream: it may last as
// long as the process.
//
// The Conn takes no further request while answers of more than 1 MiB wait for a
// peer that doesn't read them; those of the calls that run still join them.
func NewStreamConn(rwc io.ReadWriteCloser) Conn {
	c := &streamConn{rwc: rwc, closed: make(chan struct{})}
	c.in.limit = DefaultMaxMessageSize
	c.source = newSource(rwc, c.closed)
	c.out.init(rwc)
	return c
}

type streamConn struct {
	rwc    io.ReadWriteCloser
	in     frameReader
	source source
	out    streamWriter
	err    error // what ended the reading
	ended  bool  // by the other side, perhaps in the middle of a text

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
	for {
		if body, ok := c.in.next(); ok {
			return Message{Body: body, Reply: c.out.reply}, nil
		}
		if c.err != nil {
			if rest := c.in.rest(); c.ended && len(rest) > 0 {
				return Message{Body: rest, Reply: c.out.reply}, nil
			}
			return Message{}, c.err
		}
		n, err := c.source.read(ctx, c.in.space())
		c.in.extend(n)
		switch {
		case err == nil:
		case ctx.Err() != nil && errors.Is(err, ctx.Err()):
			return Message{}, err
		default:
			c.source.close()
			c.err, c.ended = c.final(err), err == io.EOF
		}
	}
}

// final returns the error to end with for one from the stream.
func (c *streamConn) final(err error) error {
	select {
	case <-c.closed:
		return io.EOF
	default:
	}
	if werr := c.out.failed(); werr != nil && err != io.EOF {
		return werr // a failed write closes the stream
	}
	return err
}

func (c *streamConn) WriteMessage(_ context.Context, body []byte) error {
	return c.out.write(body, false)
}

func (c *streamConn) Close() error {
	var err error
	c.closing.Do(func() {
		c.out.close(closeGrace)
		close(c.closed)
		err = c.rwc.Close()
		<-c.out.done
	})
	return err
}

// A streamWriter sends what is handed over on a goroutine of its own: all that
// waits, in one write.
type streamWriter struct {
	w     io.WriteCloser
	reply func([]byte) error
	wake  chan struct{} // holds one if there may be something to do
	done  chan struct{} // closed when the goroutine has ended

	mu             sync.Mutex    // protects following
	buf            []byte        // waits
	replies        int           // bytes of answers in buf
	sending        int           // bytes being written
	sendingReplies int           // bytes of answers among them
	room           chan struct{} // closed when something was sent; nil if nobody waits
	err            error
	closed         bool
}

func (w *streamWriter) init(wc io.WriteCloser) {
	w.w = wc
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
			_, err := w.w.Write(buf)
			w.sent(err)
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

func (w *streamWriter) sent(err error) {
	w.mu.Lock()
	w.sending, w.sendingReplies = 0, 0
	if w.room != nil {
		close(w.room)
		w.room = nil
	}
	if err != nil && w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	if err != nil {
		_ = w.w.Close() // the reader is to see it, too
	}
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

func (w *streamWriter) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// close takes no more, and waits for what was taken to be sent, up to grace.
func (w *streamWriter) close(grace time.Duration) {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.signal()
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-w.done:
	case <-timer.C:
	}
}

// A source reads from a stream, and stops when a context is done.
type source interface {
	read(ctx context.Context, p []byte) (int, error)
	close() // by the reading goroutine, when it has read its last
}

func newSource(rwc io.ReadWriteCloser, closed chan struct{}) source {
	d, ok := rwc.(deadliner)
	if ok && d.SetReadDeadline(time.Time{}) == nil {
		return &deadlineSource{deadliner: d}
	}
	return &pumpSource{r: rwc, closed: closed}
}

type deadliner interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// A deadlineSource stops reading by a deadline in the past. It watches one
// context over many reads.
type deadlineSource struct {
	deadliner
	watched <-chan struct{} // the Done of the context
	stop    func() bool     // ends the watch
	fired   chan struct{}   // closed when the deadline was set
}

func (s *deadlineSource) read(ctx context.Context, p []byte) (int, error) {
	if s.watched != ctx.Done() {
		s.watch(ctx)
	}
	n, err := s.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return n, ctx.Err()
	}
	return n, err
}

func (s *deadlineSource) watch(ctx context.Context) {
	s.close()
	s.watched = ctx.Done()
	if s.watched == nil {
		return
	}
	fired := make(chan struct{})
	s.fired = fired
	s.stop = context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = s.SetReadDeadline(time.Unix(1, 0))
	})
}

// close ends the watch.
func (s *deadlineSource) close() {
	if s.stop == nil {
		return
	}
	if !s.stop() {
		<-s.fired
		_ = s.SetReadDeadline(time.Time{})
	}
	s.stop = nil
}

// A pumpSource reads on a goroutine of its own, one piece ahead.
type pumpSource struct {
	r       io.Reader
	closed  chan struct{}
	pieces  chan piece
	resume  chan struct{}
	current piece
}

type piece struct {
	data []byte
	err  error
}

func (s *pumpSource) read(ctx context.Context, p []byte) (int, error) {
	if s.pieces == nil {
		s.pieces, s.resume = make(chan piece), make(chan struct{})
		go s.pump()
	}
	if len(s.current.data) == 0 && s.current.err == nil {
		select {
		case s.current = <-s.pieces:
		case <-s.closed:
			return 0, net.ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	n := copy(p, s.current.data)
	s.current.data = s.current.data[n:]
	if len(s.current.data) > 0 {
		return n, nil
	}
	err := s.current.err
	if err == nil {
		select {
		case s.resume <- struct{}{}:
		case <-s.closed:
		}
	}
	return n, err
}

func (s *pumpSource) pump() {
	buf := make([]byte, 32<<10)
	for {
		n, err := s.r.Read(buf)
		select {
		case s.pieces <- piece{buf[:n], err}:
		case <-s.closed:
			return
		}
		if err != nil {
			return
		}
		select {
		case <-s.resume:
		case <-s.closed:
			return
		}
	}
}

func (s *pumpSource) close() {}
