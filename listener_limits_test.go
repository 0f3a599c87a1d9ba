package jsonrpc2_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

const added = `{"jsonrpc":"2.0","id":1,"result":6.1}`

// A connection ends when nothing has run, come or gone for IdleTimeout.
func TestListenerIdleTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = time.Minute
		w := newWatch()
		s, l := servePipes(t, jsonrpc2.ListenerOptions{IdleTimeout: limit}, w)
		silent := l.connect(t)
		start := time.Now()
		silent.requireEnd()
		require.Equal(t, limit, time.Since(start))

		busy, used := l.connect(t), l.connect(t)
		busy.send(`{"jsonrpc":"2.0","id":1,"method":"Watch.Lazy","params":[1,5]}`)
		for range 5 {
			time.Sleep(limit - time.Second)
			used.send(addOne)
			require.Equal(t, added, used.receive())
		}
		start = time.Now()
		used.requireEnd()
		require.InDelta(t, limit, time.Since(start), float64(limit)/16)
		require.Equal(t, `{"jsonrpc":"2.0","id":1,"result":0}`, busy.receive(), "it ran for an hour")
		start = time.Now()
		busy.requireEnd()
		require.InDelta(t, limit, time.Since(start), float64(limit)/16)
		synctest.Wait()
		require.Equal(t, jsonrpc2.ListenerCounts{Accepted: 3, Idle: 3}, s.conns.Snapshot())
	})
}

// The connection of a peer that takes no answer is idle, too, and so is that of a peer that
// breaks off a request.
func TestListenerIdlePeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := servePipes(t, jsonrpc2.ListenerOptions{IdleTimeout: time.Minute})
		deaf, half := l.connect(t), l.connect(t)
		deaf.send(addOne)
		_, err := io.WriteString(half, addOne[:20])
		require.NoError(t, err)
		time.Sleep(time.Minute + time.Minute/16 + 3*time.Second)
		synctest.Wait()
		require.Equal(t, jsonrpc2.ListenerCounts{Accepted: 2, Idle: 2}, s.conns.Snapshot())
		require.EqualValues(t, 1, s.calls.Snapshot().LostReplies)
	})
}

// An idle socket is closed, like an idle connection in memory.
func TestListenerIdleSocket(t *testing.T) {
	server, client := tlsConfigs()
	for _, name := range []string{"tcp", "unix", "tls"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			network := name
			if name == "tls" {
				network = "tcp"
			}
			l := newListener(t, network)
			if name == "tls" {
				l = tls.NewListener(l, server)
			}
			s := serveListener(t, l, jsonrpc2.ListenerOptions{IdleTimeout: time.Second})
			conns := int64(0)
			for answered := false; !answered; { // a connection may be idle for too long before a busy machine sends the request
				conns++
				require.Less(t, conns, int64(20))
				conn := s.dial(t)
				if name == "tls" {
					conn = tls.Client(conn, client)
				}
				c := newCaller(t, conn)
				_, _ = io.WriteString(c, addOne+"\n")
				answer, err := c.answers.ReadString('\n')
				if answered = err == nil; answered {
					require.Equal(t, added+"\n", answer)
					c.requireEnd()
				}
			}
			servicetest.EventuallyEqual(t, jsonrpc2.ListenerCounts{Accepted: conns, Idle: conns}, s.conns.Snapshot)
		})
	}
}

// A handshake that does not go on ends its connection, and holds up no other.
func TestListenerHandshake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := tlsConfigs()
		l := newPipeListener()
		s := serveListener(t, tls.NewListener(l, server), jsonrpc2.ListenerOptions{})
		start := time.Now()
		silent := l.connect(t)
		there, here := net.Pipe()
		l.accepted <- there
		quick := newCaller(t, tls.Client(here, client))
		quick.send(addOne)
		require.Equal(t, added, quick.receive())
		require.Zero(t, time.Since(start))
		silent.requireEnd()
		require.Equal(t, 10*time.Second, time.Since(start))
		quick.send(addOne)
		require.Equal(t, added, quick.receive())
		synctest.Wait()
		require.Equal(t, jsonrpc2.ListenerCounts{Accepted: 2, Open: 1, Broken: 1}, s.conns.Snapshot())
		half := l.connect(t) // the drain does not wait for it
		s.end(t)
		half.requireEnd()
	})
}

func repeat(n int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"Long.Repeat","params":[%d]}`, n)
}

// smallBuffers is a listener for whose connections the kernel holds little.
type smallBuffers struct{ net.Listener }

func (l smallBuffers) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil {
		err = conn.(interface{ SetWriteBuffer(int) error }).SetWriteBuffer(64 << 10)
	}
	return conn, err
}

// When too many answers wait, the connections of peers that don't read are cut off, and no
// others.
func TestListenerMaxUnsent(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			log := new(recorder)
			s := serveListener(t, smallBuffers{newListener(t, network)}, jsonrpc2.ListenerOptions{
				MaxUnsent:     1 << 20,
				ServerOptions: jsonrpc2.ServerOptions{Logger: slog.New(log)},
			})
			const deaf = 8
			for range deaf {
				conn := s.dial(t)
				require.NoError(t, conn.(interface{ SetReadBuffer(int) error }).SetReadBuffer(64<<10))
				newCaller(t, conn).send(repeat(2_000_000))
			}
			good := newCaller(t, s.dial(t))
			for range 50 {
				good.send(repeat(100_000))
				require.Len(t, good.receive(), 100_000+len(`{"jsonrpc":"2.0","id":1,"result":""}`))
			}
			servicetest.EventuallyEqual(t, jsonrpc2.ListenerCounts{Accepted: 1 + deaf, Open: 1, Slow: deaf}, s.conns.Snapshot)
			require.EqualValues(t, deaf, s.calls.Snapshot().LostReplies)
			s.end(t)               // the call that cuts off a connection logs that afterwards
			first := log.take()[0] // of a line a second: that of the connection, or of an answer to it
			if first.Message != "jsonrpc2: connection cut off, since too many answers wait" {
				require.Equal(t, "jsonrpc2: reply lost", first.Message)
				require.Contains(t, first.attrs["error"], "too many answers wait")
			}
		})
	}
}

// The connection with the most bytes is cut off, even if another one exceeds the limit.
func TestListenerMaxUnsentOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := servePipes(t, jsonrpc2.ListenerOptions{MaxUnsent: 1 << 20})
		small, large, last := l.connect(t), l.connect(t), l.connect(t)
		small.send(repeat(300_000))
		large.send(repeat(500_000))
		synctest.Wait()
		time.Sleep(time.Second)
		require.InDelta(t, 800_000, s.conns.Snapshot().Unsent, 100)
		last.send(repeat(600_000)) // has waited for no time
		synctest.Wait()
		require.EqualValues(t, 1, s.conns.Snapshot().Slow)
		require.InDelta(t, 900_000, s.conns.Snapshot().Unsent, 100)
		for _, c := range []*caller{small, last} {
			require.Contains(t, c.receive(), "xxx")
			c.send(addOne)
			require.Equal(t, added, c.receive())
		}
		large.requireEnd()
	})
}

// Connections that come, break, wait and go at once, while limits are exceeded, leave
// nothing behind: serveListener's cleanup requires it.
func TestListenerChurn(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			s := serveListener(t, smallBuffers{newListener(t, network)}, jsonrpc2.ListenerOptions{
				MaxConns: 20, MaxUnsent: 500_000, IdleTimeout: 5 * time.Millisecond,
				ServerOptions: jsonrpc2.ServerOptions{MaxInFlight: 3, Grace: time.Second},
			}, newWatch())
			var churning sync.WaitGroup
			for n := range 30 {
				churning.Go(func() {
					random := rand.New(rand.NewPCG(1, uint64(n)))
					for range 30 {
						conn, err := net.Dial(network, s.addr)
						if err != nil { // it drains
							return
						}
						for range random.IntN(5) { // the server may have closed it
							_, _ = io.WriteString(conn, repeat(random.IntN(400_000)))
						}
						switch random.IntN(3) {
						case 0:
							_ = conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
							_, _ = io.Copy(io.Discard, conn)
						case 1:
							_, _ = io.ReadFull(conn, make([]byte, random.IntN(100_000)+1))
						}
						_ = conn.Close()
					}
				})
			}
			time.AfterFunc(2*time.Second, s.drain) // perhaps in the middle
			churning.Wait()
		})
	}
}

// A TLS connection that is cut off is gone at once. Its close_notify took 5 s, and its answers
// stayed in memory, and its place taken, meanwhile.
func TestListenerCutOffTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, client := tlsConfigs()
		l := newPipeListener()
		s := serveListener(t, tls.NewListener(l, server), jsonrpc2.ListenerOptions{MaxUnsent: 3 << 20})
		there, here := net.Pipe()
		l.accepted <- there
		start := time.Now()
		deaf := newCaller(t, tls.Client(here, client))
		deaf.send(repeat(2_000_000), repeat(2_000_000))
		synctest.Wait()
		require.Equal(t, jsonrpc2.ListenerCounts{Accepted: 1, Slow: 1}, s.conns.Snapshot())
		require.Zero(t, time.Since(start))
	})
}

// SlowResult takes a while to encode.
type SlowResult struct{}

// MarshalJSON implements json.Marshaler.
func (SlowResult) MarshalJSON() ([]byte, error) {
	time.Sleep(20 * time.Second)
	return []byte("1"), nil
}

type Slow struct{}

func (Slow) Run(struct{}, *SlowResult) error {
	time.Sleep(110 * time.Second)
	return nil
}

// A connection whose call has just run is not idle while its answer is still being made: it was
// closed right after the answer.
func TestListenerNotIdleBeforeAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := servePipes(t, jsonrpc2.ListenerOptions{IdleTimeout: time.Minute}, Slow{})
		c := l.connect(t)
		c.send(`{"jsonrpc":"2.0","id":1,"method":"Slow.Run","params":{}}`)
		require.Equal(t, `{"jsonrpc":"2.0","id":1,"result":1}`, c.receive())
		c.send(addOne)
		require.Equal(t, added, c.receive())
	})
}
