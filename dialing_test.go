package jsonrpc2_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/rpc"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// A dialing is a client over DialStream in a synctest bubble. What dial does is up to the
// test.
type dialing struct {
	conn   *jsonrpc2.RedialConn
	client *rpc.Client
	log    *recorder

	mu    sync.Mutex
	next  dialFunc
	tries []time.Time
}

type dialFunc = func(context.Context) (io.ReadWriteCloser, error)

func plain(conn *jsonrpc2.RedialConn) jsonrpc2.ClientConn { return conn }

func newDialing(t *testing.T, next dialFunc) *dialing { return newDialingOver(t, plain, next) }

// newDialingOver returns a dialing whose client calls over what wrap returns.
func newDialingOver(t *testing.T, wrap func(*jsonrpc2.RedialConn) jsonrpc2.ClientConn, next dialFunc) *dialing {
	d := &dialing{next: next, log: new(recorder)}
	d.conn = jsonrpc2.DialStream(d.dial, &jsonrpc2.DialStreamOptions{Logger: slog.New(d.log)})
	d.client = jsonrpc2.NewClient(wrap(d.conn), &jsonrpc2.ClientOptions{Service: "Calc", Logger: slog.New(d.log)})
	t.Cleanup(func() { _ = d.client.Close() })
	return d
}

func (d *dialing) dial(ctx context.Context) (io.ReadWriteCloser, error) {
	d.mu.Lock()
	d.tries = append(d.tries, time.Now())
	next := d.next
	d.mu.Unlock()
	return next(ctx)
}

// dials makes later tries call next.
func (d *dialing) dials(next dialFunc) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.next = next
}

// tried returns how many tries there were, when all is at rest.
func (d *dialing) tried() int {
	synctest.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.tries)
}

// triedSince returns how many tries there were after a time.
func (d *dialing) triedSince(since time.Time) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range d.tries {
		if at.After(since) {
			n++
		}
	}
	return n
}

// add makes a call. It returns how long the call takes, and its error.
func (d *dialing) add(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	sum, err := jsonrpc2.Call[float64](ctx, d.client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	if err == nil && sum != 6.1 {
		panic(sum)
	}
	return time.Since(start), err
}

// adding begins a call. The channel receives its error.
func (d *dialing) adding(ctx context.Context) <-chan error {
	ended := make(chan error, 1)
	go func() {
		_, err := d.add(ctx)
		ended <- err
	}()
	synctest.Wait()
	return ended
}

// lines returns the log lines since the last time, each with its cause, if it has one.
func (d *dialing) lines() (lines []string) {
	for _, l := range d.log.take() {
		lines = append(lines, strings.TrimSuffix(l.Message+": "+l.attrs["error"], ": "))
	}
	return lines
}

func (d *dialing) requireAdds(t *testing.T) {
	t.Helper()
	_, err := d.add(t.Context())
	require.NoError(t, err)
}

// refuses is a dial that fails at once.
func refuses(err error) dialFunc {
	return func(context.Context) (io.ReadWriteCloser, error) { return nil, err }
}

// hangs is a dial into a network that drops everything.
func hangs(ctx context.Context) (io.ReadWriteCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// A pipeServer serves the far ends of pipes.
type pipeServer struct {
	t      *testing.T
	server *rpc.Server

	mu    sync.Mutex
	conns []net.Conn // the far ends
}

func newPipeServer(t *testing.T, services ...any) *pipeServer {
	return &pipeServer{t: t, server: newServer(t, services...)}
}

// dial returns a stream that is served.
func (s *pipeServer) dial(ctx context.Context) (io.ReadWriteCloser, error) {
	here, err := s.accept(ctx)
	there := s.last()
	go func() {
		_ = jsonrpc2.Serve(context.Background(), s.server, jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Service: "Calc", Logger: slog.New(slog.DiscardHandler)})
	}()
	return here, err
}

// accept returns a stream that nobody reads.
func (s *pipeServer) accept(context.Context) (io.ReadWriteCloser, error) {
	there, here := net.Pipe()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns = append(s.conns, there)
	s.t.Cleanup(func() { _ = there.Close() })
	return here, nil
}

// end closes a stream as soon as it is there.
func (s *pipeServer) end(ctx context.Context) (io.ReadWriteCloser, error) {
	here, err := s.accept(ctx)
	s.cut()
	return here, err
}

// last returns the far end of the last stream.
func (s *pipeServer) last() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conns[len(s.conns)-1]
}

// cut closes the last stream.
func (s *pipeServer) cut() { _ = s.last().Close() }

func dialTCP(addr string) dialFunc {
	return func(ctx context.Context) (io.ReadWriteCloser, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}
}

// An accepted stream is the first connection to a listener: a RedialConn makes none before it
// sends.
type accepted struct {
	listener net.Listener
	conn     func() (net.Conn, error)
}

func newAccepted(l net.Listener) *accepted { return &accepted{l, sync.OnceValues(l.Accept)} }

func (a *accepted) Read(p []byte) (int, error) {
	conn, err := a.conn()
	if err != nil {
		return 0, err
	}
	return conn.Read(p)
}

func (a *accepted) Write(p []byte) (int, error) {
	conn, err := a.conn()
	if err != nil {
		return 0, err
	}
	return conn.Write(p)
}

func (a *accepted) Close() error {
	_ = a.listener.Close()
	if conn, err := a.conn(); err == nil {
		_ = conn.Close()
	}
	return nil
}
