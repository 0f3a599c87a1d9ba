package jsonrpc2

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// A source reads from a stream, and stops when a context is done. One goroutine at a time
// uses it.
type source interface {
	// read reads into in. When ctx is done it returns ctx.Err().
	read(ctx context.Context, in readSpace) (int, error)

	// close is called when nothing more is read.
	close()

	// wait waits for the source's own goroutines. It is called when the stream is closed.
	wait()
}

// A readSpace is where a source reads to.
type readSpace interface {
	space() []byte // where what comes next belongs
	rest()         // nothing comes at the moment; space is called before the next read
}

// newSource returns a source of rwc. broken is closed when nothing more is wanted.
func newSource(rwc io.ReadWriteCloser, broken <-chan struct{}, host *streamHost) source {
	d, ok := rwc.(deadliner)
	if !ok || d.SetReadDeadline(time.Time{}) != nil {
		return &pumpSource{r: rwc, broken: broken}
	}
	source := &deadlineSource{deadliner: d}
	if h, ok := rwc.(handshaker); ok {
		return &handshakeSource{deadlineSource: source, handshaker: h, limit: host.handshakeTime()}
	}
	if host != nil {
		if socket, ok := newSocketSource(source); ok {
			return socket
		}
	}
	return source
}

// A handshaker is a TLS connection. Its first Read or Write makes the handshake, unless that
// was made before. A deadline that passes in the handshake breaks the connection for good.
type handshaker interface {
	HandshakeContext(ctx context.Context) error
}

// A handshakeSource sets no deadline before the handshake is over. A goroutine makes the
// handshake. It ends at the latest when the connection is closed.
type handshakeSource struct {
	*deadlineSource
	handshaker
	limit  time.Duration // of the handshake; 0: none
	shaken chan struct{} // closed when the handshake is over; nil before it begins
	err    error         // of the handshake; for reading when shaken is closed
}

func (s *handshakeSource) read(ctx context.Context, in readSpace) (int, error) {
	if s.shaken == nil {
		s.shaken = make(chan struct{})
		go func() {
			defer close(s.shaken)
			s.err = s.handshake()
		}()
	}
	select {
	case <-s.shaken:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if s.err != nil {
		return 0, s.err
	}
	return s.deadlineSource.read(ctx, in)
}

func (s *handshakeSource) handshake() error {
	ctx := context.Background()
	if s.limit > 0 {
		limited, cancel := context.WithTimeout(ctx, s.limit)
		defer cancel()
		ctx = limited
	}
	return s.HandshakeContext(ctx)
}

func (s *handshakeSource) wait() {
	if s.shaken != nil {
		<-s.shaken
	}
}

// A deadliner is a stream whose Read can be interrupted, such as a net.Conn.
type deadliner interface {
	io.Reader
	SetReadDeadline(time.Time) error
}

// A deadlineSource interrupts a Read by a deadline in the past. Most reads have the same
// context: it watches that over all of them, and not for each anew.
type deadlineSource struct {
	deadliner
	watched <-chan struct{} // the Done of the context
	stop    func() bool     // ends the watch; nil: nothing is watched
	fired   chan struct{}   // closed when the watch has set the deadline
}

func (s *deadlineSource) read(ctx context.Context, in readSpace) (int, error) {
	s.watch(ctx)
	n, err := s.Read(in.space())
	return n, interrupted(ctx, err)
}

// interrupted returns ctx.Err() if err says that the end of ctx has interrupted a read, else
// err.
func interrupted(ctx context.Context, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// watch makes the end of ctx interrupt the reads.
func (s *deadlineSource) watch(ctx context.Context) {
	if s.watched == ctx.Done() {
		return
	}
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

// close ends the watch, and removes its deadline if it has set one.
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

func (s *deadlineSource) wait() {}

// A pumpSource reads on a goroutine of its own, one piece ahead.
type pumpSource struct {
	r       io.Reader
	broken  <-chan struct{} // closed when nothing more is wanted
	pieces  chan piece      // receives what was read
	resume  chan struct{}   // receives when the last piece is used up
	current piece           // what is not used up yet
}

// A piece is what one Read returned.
type piece struct {
	data []byte
	err  error
}

func (s *pumpSource) read(ctx context.Context, in readSpace) (int, error) {
	if s.pieces == nil {
		s.pieces, s.resume = make(chan piece), make(chan struct{})
		go s.pump()
	}
	if len(s.current.data) == 0 && s.current.err == nil {
		select {
		case s.current = <-s.pieces:
		case <-s.broken:
			return 0, net.ErrClosed
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	n := copy(in.space(), s.current.data)
	s.current.data = s.current.data[n:]
	if len(s.current.data) > 0 {
		return n, nil
	}
	err := s.current.err
	if err == nil {
		select {
		case s.resume <- struct{}{}:
		case <-s.broken:
		}
	}
	return n, err
}

// pump reads pieces until the stream ends or nothing more is wanted. buf belongs to read from
// the sending of a piece until resume.
func (s *pumpSource) pump() {
	buf := make([]byte, 32<<10)
	for {
		n, err := s.r.Read(buf)
		select {
		case s.pieces <- piece{buf[:n], err}:
		case <-s.broken:
			return
		}
		if err != nil {
			return
		}
		select {
		case <-s.resume:
		case <-s.broken:
			return
		}
	}
}

func (s *pumpSource) close() {}

// wait does not wait: on some streams Close does not make Read return.
func (s *pumpSource) wait() {}
