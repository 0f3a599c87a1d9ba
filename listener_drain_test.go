package jsonrpc2_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// slowCall is a call of servicetest.Slow that waits for its gate.
func slowCall(n int) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"Slow.Wait","params":[%d]}`, n, n)
}

func slowAnswer(n int) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":%d}`, n, n) }

const shuttingDown = `{"jsonrpc":"2.0","id":%d,"error":{"code":-32000,"message":"not run: the server is shutting down"}}`

// In a drain, idle connections end at once, running calls are answered, and calls that wait
// for a place are answered with an error.
func TestListenerDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := servicetest.NewSlow()
		s, l := servePipes(t, jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{MaxInFlight: 2}}, slow)
		idle, runs, waits, batch := l.connect(t), l.connect(t), l.connect(t), l.connect(t)
		runs.send(slowCall(1))
		synctest.Wait()
		batch.send("[" + slowCall(2) + "," + slowCall(3) + "]")
		synctest.Wait()
		waits.send(slowCall(4) + `{"jsonrpc":"2.0","method":"Slow.Wait"}`)
		synctest.Wait()
		require.EqualValues(t, 2, slow.Running.Load())

		start := time.Now()
		s.drain()
		idle.requireEnd()
		require.Equal(t, fmt.Sprintf(shuttingDown, 4), waits.receive())
		waits.requireEnd()
		require.Zero(t, time.Since(start))
		slow.Open()
		require.Equal(t, slowAnswer(1), runs.receive())
		require.Contains(t, batch.receive(), slowAnswer(3), "a batch that has begun is finished")
		s.end(t)
		require.Equal(t, []int{1, 2, 3}, slow.Order())
		require.Equal(t, jsonrpc2.ServerCounts{Calls: 4, Answered: 3, Errors: 1}, s.calls.Snapshot())
	})
}

// However many connections there are, the contexts of their calls end with Grace, by one
// timer, and all are answered.
func TestListenerDrainOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const conns = 1000
		w := newWatch()
		w.seen = make(chan context.Context, conns)
		s, l := servePipes(t, jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{MaxInFlight: conns, Grace: time.Minute}}, w)
		var callers []*caller
		for n := range conns {
			c := l.connect(t)
			c.send(watch("Wait", n))
			callers = append(callers, c)
		}
		synctest.Wait()
		start := time.Now()
		s.drain()
		for n, c := range callers {
			require.Equal(t, watched(n, canceled), c.receive())
			c.requireEnd()
		}
		s.end(t)
		require.Equal(t, time.Minute, time.Since(start))
	})
}

// A peer that reads its answer slowly holds up the drain for no longer than 2 s after Grace.
func TestListenerDrainOfSlowReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := servePipes(t, jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{Grace: 20 * time.Second}})
		c := l.connect(t)
		c.send(repeat(3_000_000))
		reading := make(chan struct{})
		go func() {
			defer close(reading)
			for piece := make([]byte, 4<<10); ; time.Sleep(time.Second) {
				if _, err := io.ReadFull(c.Conn, piece); err != nil {
					return
				}
			}
		}()
		synctest.Wait()
		start := time.Now()
		s.end(t)
		require.Equal(t, 22*time.Second, time.Since(start).Truncate(time.Second))
		<-reading
		require.EqualValues(t, 1, s.calls.Snapshot().LostReplies)
		require.EqualValues(t, 1, s.conns.Snapshot().Broken)
	})
}

// What holds up a listener is logged in one line, not in one for each connection.
func TestListenerLogsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, log := servicetest.NewSlow(), new(recorder)
		s, l := servePipes(t, jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{
			MaxInFlight: 3, Grace: 5 * time.Second, Logger: slog.New(log),
		}}, slow)
		for n := range 10 {
			c := l.connect(t)
			go io.Copy(io.Discard, c)
			c.send(slowCall(n))
		}
		time.Sleep(time.Hour + time.Second/4)
		running := s.calls.Running()
		require.Len(t, running, 1)
		require.Equal(t, 3, running[0].Calls)
		require.Equal(t, []line{{
			"jsonrpc2: all places are taken, and no call has ended for 10s",
			map[string]string{"calls": "3", "running": "Slow.Wait 3 for 10s"}, slog.LevelWarn,
		}}, log.take())
		s.drain()
		time.Sleep(6 * time.Second)
		synctest.Wait()
		require.Equal(t, []line{{
			"jsonrpc2: a drain waits for calls that go on after Grace",
			map[string]string{"calls": "3", "running": "Slow.Wait 3 for 1h0m5s"}, slog.LevelWarn,
		}}, log.take())
		slow.Open()
		s.end(t)
		require.Empty(t, s.calls.Running())
		require.Len(t, log.take(), 1, "calls end again")
	})
}

// Connections share the places, and get them in turn: one that sends many calls does not
// keep others waiting.
func TestListenerPlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := servicetest.NewSlow()
		_, l := servePipes(t, jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{MaxInFlight: 2}}, slow)
		for range 50 {
			l.connect(t) // they take no place
		}
		greedy, modest := l.connect(t), l.connect(t)
		for n := range 6 {
			greedy.send(slowCall(n))
			synctest.Wait()
		}
		modest.send(slowCall(10))
		synctest.Wait()
		for range 3 {
			slow.Gate <- struct{}{}
			synctest.Wait()
		}
		require.Equal(t, []int{0, 1, 2, 10, 3}, slow.Order())
		require.EqualValues(t, 2, slow.Most.Load())
		slow.Open()
		require.Equal(t, slowAnswer(10), modest.receive())
	})
}

// The contexts of a peer's calls are done when it has ended what it sends. They are answered
// still. A call of a peer that goes while it waits for a place is not run.
func TestListenerPeerGone(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			w, slow := newWatch(), servicetest.NewSlow()
			s := listen(t, network, jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{MaxInFlight: 2}}, w, slow)
			closing := newCaller(t, s.dial(t))
			closing.send(watch("Wait", 1))
			<-w.seen
			require.NoError(t, closing.Conn.(interface{ CloseWrite() error }).CloseWrite())
			require.Equal(t, watched(1, canceled), closing.receive())
			closing.requireEnd()

			busy := newCaller(t, s.dial(t))
			busy.send(slowCall(1), slowCall(2))
			slow.RequireRunning(t, 2)
			going := newCaller(t, s.dial(t))
			going.send(slowCall(3), slowCall(4))
			require.NoError(t, going.Close())
			servicetest.EventuallyEqual(t, 2, func() int64 { return s.calls.Snapshot().Expired })
			servicetest.EventuallyEqual(t, 1, func() int64 { return s.conns.Snapshot().Open })
			slow.Open()
			busy.receive()
			busy.receive()
			require.ElementsMatch(t, []int{1, 2}, slow.Order())
		})
	}
}

// A connection that waits for a place loses nothing of what its peer sends meanwhile.
func TestListenerReadsAhead(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			slow := servicetest.NewSlow()
			s := listen(t, network, jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{MaxInFlight: 1}}, slow)
			busy, waits := newCaller(t, s.dial(t)), newCaller(t, s.dial(t))
			busy.send(slowCall(1))
			slow.RequireRunning(t, 1)
			const calls = 500 // of more than is read ahead
			var all []string
			for n := range calls {
				all = append(all, slowCall(n))
			}
			waits.send(strings.Join(all, "\n"))
			slow.Open()
			answers := make(map[string]bool)
			for range calls {
				answers[waits.receive()] = true
			}
			for n := range calls {
				require.Contains(t, answers, slowAnswer(n))
			}
		})
	}
}

// A call that runs in a drain need not run on when its peer has gone.
func TestListenerPeerGoneInDrain(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			w := newWatch()
			s := listen(t, network, jsonrpc2.ListenerOptions{ServerOptions: jsonrpc2.ServerOptions{Grace: time.Hour}}, w)
			c := newCaller(t, s.dial(t))
			c.send(watch("Wait", 1))
			<-w.seen
			s.drain()
			_, err := net.Dial(network, s.addr)
			for ; err == nil; _, err = net.Dial(network, s.addr) {
			} // until it does not listen any more
			require.NoError(t, c.Close())
			s.end(t)
		})
	}
}

// A lastWords is a connection whose Read returns io.EOF together with the last bytes, as an
// io.Reader may.
type lastWords struct {
	net.Conn
	written chan string
	read    bool
}

func (c *lastWords) Read(p []byte) (int, error) {
	if c.read {
		return 0, io.EOF
	}
	c.read = true
	return copy(p, addOne), io.EOF
}

func (c *lastWords) Write(p []byte) (int, error) {
	c.written <- string(p)
	return len(p), nil
}

// A request that comes in one Read with io.EOF runs, like one that comes just before: it was
// not begun, because its peer counted as gone.
func TestListenerRequestWithEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, l := servePipes(t, jsonrpc2.ListenerOptions{})
		there, here := net.Pipe()
		defer here.Close()
		c := &lastWords{Conn: there, written: make(chan string, 1)}
		l.accepted <- c
		synctest.Wait()
		require.Len(t, c.written, 1)
		require.Equal(t, added+"\n", <-c.written)
	})
}
