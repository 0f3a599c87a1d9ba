//go:build unix

package jsonrpc2

import (
	"context"
	"io"
	"net"
	"os"
	"syscall"
)

// A socketSource reads from a socket as its Read does, but needs no buffer while it waits:
// ten thousand connections that wait would hold on to one each. One goroutine reads at a time.
type socketSource struct {
	*deadlineSource
	conn net.Conn
	raw  syscall.RawConn
	try  func(fd uintptr) bool // tryRead, made once: a method value for each read would allocate

	// Of the read under way.
	in  readSpace
	n   int
	err error
}

// newSocketSource returns a source for a socket of the system. ok is false for other streams.
func newSocketSource(s *deadlineSource) (source *socketSource, ok bool) {
	source = &socketSource{deadlineSource: s}
	switch conn := s.deadliner.(type) {
	case *net.TCPConn:
		source.conn = conn
	case *net.UnixConn:
		source.conn = conn
	default:
		return nil, false
	}
	raw, err := source.conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return nil, false
	}
	source.raw, source.try = raw, source.tryRead
	return source, true
}

func (s *socketSource) read(ctx context.Context, in readSpace) (int, error) {
	s.watch(ctx)
	s.in = in
	err := s.raw.Read(s.try) // calls it again when something has come
	s.in = nil
	switch {
	case err != nil:
		return 0, interrupted(ctx, err)
	case s.err != nil:
		return 0, &net.OpError{
			Op: "read", Net: s.conn.LocalAddr().Network(), Source: s.conn.LocalAddr(), Addr: s.conn.RemoteAddr(),
			Err: os.NewSyscallError("read", s.err),
		}
	case s.n == 0:
		return 0, io.EOF
	}
	return s.n, nil
}

// tryRead reads what is there. It reports false if nothing has come yet.
func (s *socketSource) tryRead(fd uintptr) bool {
	for {
		switch s.n, s.err = syscall.Read(int(fd), s.in.space()); s.err {
		case syscall.EINTR:
		case syscall.EAGAIN:
			s.in.rest()
			return false
		default:
			return true
		}
	}
}
