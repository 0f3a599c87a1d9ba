package jsonrpc2_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A listener is a ServeListener that runs.
type listener struct {
	net.Listener
	addr  string
	drain context.CancelFunc
	done  chan error
	calls *jsonrpc2.ServerStats
	conns *jsonrpc2.ListenerStats
}

// serveListener serves the services of newServer over l, until the test's cleanup.
func serveListener(t *testing.T, l net.Listener, opts jsonrpc2.ListenerOptions, services ...any) *listener {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = servicetest.Quiet
	}
	if opts.Stats == nil {
		opts.Stats = new(jsonrpc2.ServerStats)
	}
	if opts.ListenerStats == nil {
		opts.ListenerStats = new(jsonrpc2.ListenerStats)
	}
	ctx, drain := context.WithCancel(context.Background())
	s := &listener{l, l.Addr().String(), drain, make(chan error, 1), opts.Stats, opts.ListenerStats}
	server := newServer(t, services...)
	go func() { s.done <- jsonrpc2.ServeListener(ctx, server, l, &opts) }()
	t.Cleanup(func() {
		s.end(t)
		require.Zero(t, s.calls.Snapshot().InFlight)
		counts := s.conns.Snapshot()
		require.Zero(t, counts.Open)
		require.Zero(t, counts.Unsent)
	})
	return s
}

// end drains the listener and waits until it is gone. It may be called again.
func (s *listener) end(t *testing.T) {
	t.Helper()
	s.drain()
	select {
	case err := <-s.done:
		require.NoError(t, err)
		s.done <- nil
	case <-time.After(servicetest.Soon):
		require.FailNow(t, "the listener does not end")
	}
}

// listen is serveListener with a listener of its own.
func listen(t *testing.T, network string, opts jsonrpc2.ListenerOptions, services ...any) *listener {
	t.Helper()
	return serveListener(t, newListener(t, network), opts, services...)
}

func newListener(t *testing.T, network string) net.Listener {
	t.Helper()
	address := "127.0.0.1:0"
	if network == "unix" {
		address = filepath.Join(shortTempDir(t), "s")
	}
	l, err := net.Listen(network, address)
	require.NoError(t, err)
	return l
}

// dial returns a connection to the listener that is closed at the end of the test.
func (s *listener) dial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial(s.Addr().Network(), s.addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestListener(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			s := listen(t, network, jsonrpc2.ListenerOptions{})
			for range 3 {
				client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(s.dial(t)), nil)
				defer client.Close()
				sum, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
				require.NoError(t, err)
				require.EqualValues(t, 6.1, sum)
			}
			servicetest.EventuallyEqual(t, jsonrpc2.ListenerCounts{Accepted: 3, Open: 3}, s.conns.Snapshot)
		})
	}
}

// Connections share buffers, but each gets the answers to its own requests, however those
// are cut into pieces.
func TestListenerManyAtOnce(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			s := listen(t, network, jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{MaxInFlight: 3}})
			var calling sync.WaitGroup
			for n := range 16 {
				conn := s.dial(t)
				calling.Go(func() {
					answers := bufio.NewReader(conn)
					for size := 1; size < 300_000; size *= 5 {
						text := strings.Repeat(string(rune('a'+n)), size)
						request := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"Odd.Text","params":[%q]}`+"\n", n, text)
						for _, piece := range []string{request[:10], request[10 : len(request)/2], request[len(request)/2:] + request} {
							_, err := io.WriteString(conn, piece)
							assert.NoError(t, err)
						}
						for range 2 {
							answer, err := answers.ReadString('\n')
							assert.NoError(t, err)
							assert.Equal(t, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%q}`+"\n", n, text), answer)
						}
					}
				})
			}
			calling.Wait()
		})
	}
}

// Options that are nil, and a nil server, stand for defaults.
func TestListenerDefaults(t *testing.T) {
	l := newPipeListener()
	ctx, drain := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- jsonrpc2.ServeListener(ctx, nil, l, nil) }()
	c := l.connect(t)
	c.send(`{"jsonrpc":"2.0","id":1,"method":"Nobody.Knows"}`)
	require.Contains(t, c.receive(), `"code":-32601`)
	drain()
	require.NoError(t, <-done)
	c.requireEnd()
}

// Who is a service that says who called.
type Who struct{}

// Called returns what is known of the caller.
func (Who) Called(args struct{ jsonrpc2.Context }, reply *string) error {
	peer := jsonrpc2.CallFrom(args.Context).Peer
	*reply = fmt.Sprint(peer.Addr, " ", peer.TLS != nil && peer.TLS.HandshakeComplete)
	return nil
}

// A method learns the address of its caller, and what TLS knows.
func TestListenerPeer(t *testing.T) {
	const who = `{"jsonrpc":"2.0","id":1,"method":"Who.Called"}`
	answer := func(conn net.Conn, encrypted bool) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"result":"%v %v"}`, conn.LocalAddr(), encrypted)
	}
	t.Run("tcp", func(t *testing.T) {
		c := newCaller(t, listen(t, "tcp", jsonrpc2.ListenerOptions{}, Who{}).dial(t))
		c.send(who)
		require.Equal(t, answer(c, false), c.receive())
	})
	t.Run("tls", func(t *testing.T) {
		server, client := tlsConfigs()
		l, err := tls.Listen("tcp", "127.0.0.1:0", server)
		require.NoError(t, err)
		s := serveListener(t, l, jsonrpc2.ListenerOptions{}, Who{})
		c := newCaller(t, tls.Client(s.dial(t), client))
		c.send(who)
		require.Equal(t, answer(c, true), c.receive())
	})
}

// tlsConfigs returns those of a server and a client that trusts it.
func tlsConfigs() (server, client *tls.Config) {
	certificates := httptest.NewTLSServer(nil)
	certificates.Close()
	trusted := certificates.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	return &tls.Config{Certificates: certificates.TLS.Certificates}, &tls.Config{RootCAs: trusted, ServerName: "example.com"}
}

// Whatever one connection sends, and however it ends, others go on. No such connection costs a
// warning of its own.
func TestListenerHostileConnections(t *testing.T) {
	log := new(recorder)
	s := listen(t, "tcp", jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{Logger: slog.New(log)}})
	good := newCaller(t, s.dial(t))
	const each = 20
	start := time.Now()
	for range each {
		reset := s.dial(t).(*net.TCPConn)
		_, err := io.WriteString(reset, `{"jsonrpc":`)
		require.NoError(t, err)
		require.NoError(t, reset.SetLinger(0))
		require.NoError(t, reset.Close())

		garbage := newCaller(t, s.dial(t))
		garbage.send(strings.Repeat("\x00", 1000))
		require.Contains(t, garbage.receive(), `"code":-32700`)
		require.NoError(t, garbage.Close())

		long := newCaller(t, s.dial(t))
		_, err = io.WriteString(long, `{"jsonrpc":"2.0","id":1,"method":"Odd.Text","params":["`)
		require.NoError(t, err) // the rest never comes

		good.send(addOne)
		require.Equal(t, `{"jsonrpc":"2.0","id":1,"result":6.1}`, good.receive())
	}
	servicetest.EventuallyEqual(t, jsonrpc2.ListenerCounts{Accepted: 1 + 3*each, Open: 1 + each}, func() jsonrpc2.ListenerCounts {
		counts := s.conns.Snapshot()
		return jsonrpc2.ListenerCounts{Accepted: counts.Accepted, Open: counts.Open} // Open alone would do before all are accepted
	})
	s.end(t)
	counts := s.conns.Snapshot()
	require.LessOrEqual(t, counts.Broken, int64(each), "some resets come before the server reads")
	require.Positive(t, counts.Broken)
	var warnings, broken int
	for _, line := range log.take() {
		switch {
		case line.level == slog.LevelDebug && line.Message == "jsonrpc2: connection broke":
			broken++
			require.Contains(t, line.attrs["peer"], "127.0.0.1:")
			require.Contains(t, line.attrs["error"], "reset")
		default:
			warnings++
		}
	}
	require.EqualValues(t, counts.Broken, broken)
	require.LessOrEqual(t, warnings, 2+int(time.Since(start)/time.Second), "one a second, and how many were left out")
}

// temporary is an error of Accept as for want of file descriptors.
type temporary struct{ error }

func (temporary) Temporary() bool { return true }

// Accept is tried again after errors that pass, later each time, and each cause is logged
// once.
func TestListenerAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := new(recorder)
		s, l := servePipes(t, jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{Logger: slog.New(log)}})
		many := temporary{errors.New("too many open files")}
		start := time.Now()
		for _, pause := range []int{0, 5, 10, 20, 40, 80, 160, 320, 640, 1000, 1000} {
			l.errs <- many
			require.Equal(t, time.Duration(pause)*time.Millisecond, time.Since(start))
			start = time.Now()
		}
		l.errs <- &net.DNSError{Err: "no buffer", IsTimeout: true}
		c := l.connect(t)
		c.send(addOne)
		require.Equal(t, `{"jsonrpc":"2.0","id":1,"result":6.1}`, c.receive())
		synctest.Wait()
		start = time.Now()
		l.errs <- many
		l.errs <- many
		require.Equal(t, 5*time.Millisecond, time.Since(start), "it has worked since")
		synctest.Wait() // for the count and the log line of the last
		require.EqualValues(t, 14, s.conns.Snapshot().AcceptErrors)

		logged := func(cause string) line {
			return line{"jsonrpc2: no connection accepted, trying again", map[string]string{"listener": "the pipe", "error": cause}, slog.LevelWarn}
		}
		require.Equal(t, []line{logged("too many open files"), logged("lookup : no buffer")}, log.take())
		time.Sleep(time.Hour)
		l.errs <- many
		synctest.Wait()
		require.Len(t, log.take(), 1, "it may be for another reason")
	})
}

// When Accept fails for good, the server drains and says where.
func TestListenerAcceptFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := newWatch(), newPipeListener()
		done := make(chan error, 1)
		go func() {
			done <- jsonrpc2.ServeListener(t.Context(), newServer(t, w), l, &jsonrpc2.ListenerOptions{
				ServerOptions: jsonrpc2.ServerOptions{Logger: servicetest.Quiet, Grace: time.Minute},
			})
		}()
		c, idle := l.connect(t), l.connect(t)
		c.send(watch("Wait", 1))
		<-w.seen
		start := time.Now()
		l.errs <- errBroken
		idle.requireEnd()
		require.Zero(t, time.Since(start))
		require.Equal(t, watched(1, canceled), c.receive())
		require.Equal(t, time.Minute, time.Since(start))
		err := <-done
		require.ErrorIs(t, err, errBroken)
		require.EqualError(t, err, "jsonrpc2: accepting connections at the pipe: broken")
	})
}

// At the limit no connection is accepted until another ends.
func TestListenerMaxConns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := servePipes(t, jsonrpc2.ListenerOptions{MaxConns: 2})
		first, second := l.connect(t), l.connect(t)
		connected := make(chan *caller)
		go func() { connected <- l.connect(t) }()
		synctest.Wait()
		require.Empty(t, connected)
		require.EqualValues(t, 2, s.conns.Snapshot().Open)
		require.NoError(t, second.Close())
		third := <-connected
		for _, c := range []*caller{first, third} {
			c.send(addOne)
			require.Equal(t, `{"jsonrpc":"2.0","id":1,"result":6.1}`, c.receive())
		}
		synctest.Wait()
		require.Equal(t, jsonrpc2.ListenerCounts{Accepted: 3, Open: 2}, s.conns.Snapshot())
	})
}
