package jsonrpc2_test

import (
	"bufio"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// A pipeListener accepts connections in memory, for synctest bubbles.
type pipeListener struct {
	accepted chan net.Conn
	errs     chan error // what Accept returns
	closed   chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{make(chan net.Conn), make(chan error), make(chan struct{})}
}

// Accept implements net.Listener.
func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.accepted:
		return conn, nil
	case err := <-l.errs:
		return nil, err
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *pipeListener) Close() error {
	close(l.closed)
	return nil
}

// Addr implements net.Listener.
func (l *pipeListener) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "the pipe" }

// A caller is the other end of a listener's connection.
type caller struct {
	net.Conn
	t       *testing.T
	answers *bufio.Reader
}

// connect returns a caller whose connection was accepted.
func (l *pipeListener) connect(t *testing.T) *caller {
	t.Helper()
	there, here := net.Pipe()
	l.accepted <- there
	return newCaller(t, here)
}

func newCaller(t *testing.T, conn net.Conn) *caller {
	t.Cleanup(func() { _ = conn.Close() })
	return &caller{conn, t, bufio.NewReader(conn)}
}

// send sends texts, each in a line.
func (c *caller) send(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		_, err := io.WriteString(c.Conn, text+"\n")
		require.NoError(c.t, err)
	}
}

// receive returns the next line.
func (c *caller) receive() string {
	c.t.Helper()
	line, err := c.answers.ReadString('\n')
	require.NoError(c.t, err)
	return line[:len(line)-1]
}

// requireEnd requires that the server has closed the connection.
func (c *caller) requireEnd() {
	c.t.Helper()
	rest, err := io.ReadAll(c.answers)
	require.NoError(c.t, err)
	require.Empty(c.t, string(rest))
}

// servePipes serves connections in memory. Its caller is in a synctest bubble.
func servePipes(t *testing.T, opts jsonrpc2.ListenerOptions, services ...any) (*listener, *pipeListener) {
	l := newPipeListener()
	s := serveListener(t, l, opts, services...)
	synctest.Wait()
	return s, l
}
