package jsonrpc2_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Runs counts how often each call has run, by its number.
type Runs struct {
	mu     sync.Mutex
	counts map[int]int
}

func newRuns() *Runs { return &Runs{counts: make(map[int]int)} }

func (r *Runs) Run(n int, reply *int) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[n]++
	*reply = n
	return nil
}

// A mortal server can be killed and started again. It listens on a new port then: another
// process may have taken the old one.
type mortal struct {
	t             *testing.T
	server        *rpc.Server
	network, addr string

	mu       sync.Mutex
	listener net.Listener
	killed   bool
	conns    map[net.Conn]struct{}
	serving  sync.WaitGroup
}

// newMortal returns a server that runs. wrap makes the connections that it serves.
func newMortal(t *testing.T, network, addr string, wrap func(net.Conn) net.Conn, services ...any) *mortal {
	m := &mortal{t: t, server: newServer(t, services...), network: network, addr: addr, conns: make(map[net.Conn]struct{})}
	m.start(wrap)
	t.Cleanup(m.kill)
	return m
}

// dial connects to the server, by a dial of package net or tls.
func (m *mortal) dial(ctx context.Context, dial func(ctx context.Context, network, addr string) (net.Conn, error)) (net.Conn, error) {
	m.mu.Lock()
	addr, killed := m.listener.Addr().String(), m.killed
	m.mu.Unlock()
	if killed {
		return nil, errRefused
	}
	return dial(ctx, m.network, addr)
}

func (m *mortal) start(wrap func(net.Conn) net.Conn) {
	l, err := net.Listen(m.network, m.addr)
	require.NoError(m.t, err)
	m.mu.Lock()
	m.listener, m.killed = l, false
	m.mu.Unlock()
	m.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if wrap != nil {
				conn = wrap(conn)
			}
			if !m.add(conn) {
				_ = conn.Close()
				return
			}
			m.serving.Go(func() { m.serve(conn) })
		}
	})
}

// add notes a connection, unless the server was killed meanwhile.
func (m *mortal) add(conn net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.killed {
		m.conns[conn] = struct{}{}
	}
	return !m.killed
}

func (m *mortal) serve(conn net.Conn) {
	_ = jsonrpc2.Serve(context.Background(), m.server, jsonrpc2.NewStreamConn(conn),
		&jsonrpc2.ServerOptions{Service: "Calc", Logger: slog.New(slog.DiscardHandler)})
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.conns, conn)
}

// cut closes all connections, some of them by a reset.
func (m *mortal) cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn := range m.conns {
		if tcp, ok := conn.(*net.TCPConn); ok && rand.IntN(2) == 0 {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
	}
}

func (m *mortal) kill() {
	m.mu.Lock()
	m.killed = true
	_ = m.listener.Close()
	m.mu.Unlock()
	m.cut()
	m.serving.Wait()
}

// However often the connections end amid calls, each call ends once and its error is true:
// what was answered has run once, and what was not sent has not run.
func TestDialStreamStorm(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(*jsonrpc2.RedialConn) jsonrpc2.ClientConn{
		"plain": plain,
		"Batch": func(conn *jsonrpc2.RedialConn) jsonrpc2.ClientConn { return jsonrpc2.Batch(conn, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runs := newRuns()
			server := newMortal(t, "tcp", "127.0.0.1:0", nil, runs)
			conn := jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
				return server.dial(ctx, new(net.Dialer).DialContext)
			}, &jsonrpc2.DialStreamOptions{Logger: servicetest.Quiet})
			stats := new(jsonrpc2.ClientStats)
			client := jsonrpc2.NewClient(wrap(conn), &jsonrpc2.ClientOptions{Logger: servicetest.Quiet, Stats: stats})
			storm := startStorm(t, client)
			for n := 0; n < 60 || n < 600 && conn.Stats().Lost == 0; n++ {
				time.Sleep(rand.N(time.Duration(1+n/60) * 20 * time.Millisecond)) // longer, where a busy machine has lost nothing so far
				server.cut()
				if n%20 == 10 && n < 60 {
					server.kill()
					time.Sleep(rand.N(3 * time.Second))
					server.start(nil)
				}
			}
			storm.end()
			_, err := jsonrpc2.Call[int](t.Context(), client, "Runs.Run", -1)
			require.NoError(t, err)
			require.NoError(t, conn.Err())
			require.NoError(t, client.Close())
			server.kill()
			storm.requireTrue(t, runs)
			counts := stats.Snapshot()
			require.Zero(t, counts.InFlight)
			require.EqualValues(t, storm.calls.Load()+1, counts.Calls)
			t.Logf("%d calls, %d answered, %+v", counts.Calls, counts.Answered, conn.Stats())
			require.NotZero(t, conn.Stats().Lost)
			require.Zero(t, conn.Stats().Bytes)
		})
	}
}

// A storm is of many callers.
type storm struct {
	calls   atomic.Int64
	stop    context.CancelFunc
	callers sync.WaitGroup

	mu     sync.Mutex
	errors map[int]error // of each call
}

func startStorm(t *testing.T, client *rpc.Client) *storm {
	ctx, stop := context.WithCancel(t.Context())
	s := &storm{stop: stop, errors: make(map[int]error)}
	for range 32 {
		s.callers.Go(func() {
			for ctx.Err() == nil {
				n := int(s.calls.Add(1))
				got, err := jsonrpc2.Call[int](context.Background(), client, "Runs.Run", n)
				if err == nil {
					assert.Equal(t, n, got)
				}
				s.mu.Lock()
				s.errors[n] = err
				s.mu.Unlock()
			}
		})
	}
	return s
}

func (s *storm) end() {
	s.stop()
	s.callers.Wait()
}

// requireTrue compares what the calls were told with what has run.
func (s *storm) requireTrue(t *testing.T, runs *Runs) {
	require.Len(t, s.errors, int(s.calls.Load()))
	for n, err := range s.errors {
		switch {
		case err == nil:
			require.Equal(t, 1, runs.counts[n], "%d was answered", n)
		case errors.Is(err, jsonrpc2.ErrUnavailable):
			require.Zero(t, runs.counts[n], "%d was not sent: %v", n, err)
		default:
			require.ErrorIs(t, err, jsonrpc2.ErrReplyLost)
			require.LessOrEqual(t, runs.counts[n], 1)
		}
	}
}

// The calls of a Unix socket and of TLS go on when their server is back.
func TestDialStreamOverOthers(t *testing.T) {
	t.Parallel()
	certificates := httptest.NewTLSServer(http.NotFoundHandler())
	defer certificates.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(certificates.Certificate())
	for name, test := range map[string]struct {
		network, addr string
		wrap          func(net.Conn) net.Conn
		dial          func(ctx context.Context, network, addr string) (net.Conn, error)
	}{
		"tcp":  {"tcp", "127.0.0.1:0", nil, new(net.Dialer).DialContext},
		"unix": {"unix", filepath.Join(shortTempDir(t), "s"), nil, new(net.Dialer).DialContext},
		"tls": {
			"tcp", "127.0.0.1:0",
			func(conn net.Conn) net.Conn {
				return tls.Server(conn, &tls.Config{Certificates: certificates.TLS.Certificates})
			},
			(&tls.Dialer{Config: &tls.Config{RootCAs: trusted, ServerName: "example.com"}}).DialContext,
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := newMortal(t, test.network, test.addr, test.wrap)
			conn := jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
				return server.dial(ctx, test.dial)
			}, &jsonrpc2.DialStreamOptions{Logger: servicetest.Quiet})
			client := calc.NewClient(conn)
			defer client.Close()
			requireSum(t, client)
			server.kill()
			server.start(test.wrap)
			requireSum(t, client)
			server.kill()
			_, err := client.Add(t.Context(), 1, 5.1)
			require.Error(t, err)
			require.Error(t, conn.Err())
			server.start(test.wrap)
			servicetest.Eventually(t, func() bool { return conn.Err() == nil })
			requireSum(t, client)
		})
	}
}

// requireSum makes a call until one succeeds: the client may not have noticed that its server
// has ended.
func requireSum(t *testing.T, client *calc.Client) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		sum, err := client.Add(t.Context(), 1, 5.1)
		return err == nil && sum == 6.1
	})
}
