package jsonrpc2_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

var errRefused = errors.New("connection refused")

// Nothing is dialed before a request comes. It waits for the connection, as do those behind it,
// and all are sent in their order.
func TestDialStreamConnectsWhenNeeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(t)
		d := newDialing(t, func(ctx context.Context) (io.ReadWriteCloser, error) {
			time.Sleep(3 * time.Second)
			return server.accept(ctx)
		})
		time.Sleep(time.Hour)
		require.Zero(t, d.tried())
		require.NoError(t, d.conn.Err())
		start := time.Now()
		var sent []<-chan error
		for i := range 100 {
			sent = append(sent, notify(d.client, fmt.Sprintf("Test.N%02d", i), nil))
			synctest.Wait()
		}
		require.NoError(t, d.conn.Err(), "nothing is known to be wrong")
		require.NotZero(t, d.conn.Stats().Bytes)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		text := make([]byte, 64<<10)
		n, err := io.ReadAtLeast(server.last(), text, 100*len(`{"jsonrpc":"2.0","method":"Test.N00"}`+"\n"))
		require.NoError(t, err)
		for i, line := range strings.Split(strings.TrimSuffix(string(text[:n]), "\n"), "\n") {
			require.Contains(t, line, fmt.Sprintf(`"Test.N%02d"`, i))
		}
		for _, ended := range sent {
			require.NoError(t, <-ended)
		}
		require.Equal(t, 3*time.Second, time.Since(start))
		require.Equal(t, 1, d.tried())
		require.Equal(t, jsonrpc2.RedialStats{Requests: 100, Connects: 1}, d.conn.Stats())
		require.Empty(t, d.lines())
	})
}

// A request waits for 1.2 s once a try has failed, and then fails with the cause.
func TestDialStreamPatience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialing(t, refuses(errRefused))
		for range 3 {
			took, err := d.add(t.Context())
			require.Equal(t, 1200*time.Millisecond, took)
			require.EqualError(t, err, "jsonrpc2: not sent: no connection: connection refused")
			require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
			require.ErrorIs(t, err, errRefused)
			require.EqualError(t, d.conn.Err(), "jsonrpc2: no connection: connection refused")
			time.Sleep(time.Minute)
		}
		require.ErrorIs(t, jsonrpc2.Notify(t.Context(), d.client, "Calc.Add", nil), jsonrpc2.ErrUnavailable)
		require.EqualValues(t, 4, d.conn.Stats().Unsent)
		require.EqualValues(t, d.tried(), d.conn.Stats().DialErrors)
		require.Equal(t, []string{"connection impaired, trying again: connection refused"}, d.lines())
	})
}

// In a network that drops everything the first requests wait for the end of the try.
func TestDialStreamBlackHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialing(t, hangs)
		first := d.adding(t.Context())
		start := time.Now()
		time.Sleep(4 * time.Second)
		second := d.adding(t.Context())
		time.Sleep(900 * time.Millisecond)
		third := d.adding(t.Context())
		for _, ended := range []struct {
			call  <-chan error
			after time.Duration
		}{
			{first, 5 * time.Second},
			{second, 5200 * time.Millisecond},
			{third, 6100 * time.Millisecond},
		} {
			err := <-ended.call
			require.Equal(t, ended.after, time.Since(start))
			require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		took, err := d.add(t.Context())
		require.Equal(t, 1200*time.Millisecond, took, "the next try is under way")
		require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	})
}

// A request that its caller has given up is not sent, and its error says so.
func TestDialStreamDropsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(t)
		d := newDialing(t, func(ctx context.Context) (io.ReadWriteCloser, error) {
			time.Sleep(3 * time.Second)
			return server.accept(ctx)
		})
		canceled, cancel := context.WithCancel(t.Context())
		late, cancelLate := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancelLate()
		calls := []<-chan error{d.adding(canceled), d.adding(late)}
		cancel()
		require.ErrorIs(t, <-calls[0], context.Canceled)
		err := <-calls[1]
		require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
		require.ErrorIs(t, err, jsonrpc2.ErrNotRun)
		require.ErrorContains(t, err, "there was no connection")
		time.Sleep(time.Hour)
		require.Equal(t, jsonrpc2.RedialStats{Connects: 1, Expired: 2}, d.conn.Stats())
	})
}

// No more than 16 MiB wait.
func TestDialStreamOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialing(t, hangs)
		ctx, cancel := context.WithCancel(t.Context())
		long := strings.Repeat("x", 1<<20)
		call := func(ctx context.Context) <-chan error {
			ended := make(chan error, 1)
			go func() {
				_, err := jsonrpc2.Call[string](ctx, d.client, "Odd.Text", long)
				ended <- err
			}()
			synctest.Wait()
			return ended
		}
		var calls []<-chan error
		for range 15 {
			calls = append(calls, call(ctx))
		}
		require.ErrorIs(t, <-call(ctx), jsonrpc2.ErrOverloaded)
		require.Less(t, d.conn.Stats().Bytes, int64(16<<20))
		cancel()
		for _, ended := range calls {
			require.ErrorIs(t, <-ended, context.Canceled)
		}
		time.Sleep(10 * time.Second)
		require.Zero(t, d.conn.Stats().Bytes)
		require.ErrorIs(t, <-call(t.Context()), jsonrpc2.ErrUnavailable)
		require.EqualValues(t, 1, d.conn.Stats().Overloaded)
		require.EqualValues(t, 15, d.conn.Stats().Expired)
	})
}

// A call that is under way when its connection ends may have run.
func TestDialStreamReplyLost(t *testing.T) {
	for name, wrap := range map[string]func(*jsonrpc2.RedialConn) jsonrpc2.ClientConn{
		"plain": plain,
		"Batch": func(conn *jsonrpc2.RedialConn) jsonrpc2.ClientConn { return jsonrpc2.Batch(conn, nil) },
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			server := newPipeServer(t)
			d := newDialingOver(t, wrap, server.accept)
			var calls []<-chan error
			for range 10 {
				calls = append(calls, d.adding(t.Context()))
			}
			_, err := io.ReadAtLeast(server.last(), make([]byte, 64<<10), 500)
			require.NoError(t, err)
			synctest.Wait()
			start := time.Now()
			d.dials(hangs)
			server.cut()
			for _, ended := range calls {
				err := <-ended
				require.ErrorIs(t, err, jsonrpc2.ErrReplyLost)
				require.ErrorIs(t, err, io.ErrUnexpectedEOF)
				require.EqualError(t, err, "jsonrpc2: reply lost: the connection to pipe has ended: unexpected EOF")
			}
			require.Zero(t, time.Since(start))
			require.ErrorIs(t, d.conn.Err(), io.ErrUnexpectedEOF)
			require.EqualValues(t, d.conn.Stats().Requests, d.conn.Stats().Lost)

			time.Sleep(time.Second)
			d.dials(server.dial)
			time.Sleep(10 * time.Second)
			synctest.Wait()
			require.NoError(t, d.conn.Err(), "it works again, and nobody has called")
			require.Equal(t, []string{
				"connection impaired, trying again: the connection to pipe has ended: unexpected EOF",
				"connection impaired by another cause: context deadline exceeded",
				"connection works again",
			}, d.lines())
			require.EqualValues(t, 1, d.conn.Stats().Reconnects)
			d.requireAdds(t)
		}))
	}
}

// When a connection ends, a request of which the peer has read nothing fails as not sent. A
// notification that it has read in part fails as one that may have been sent.
func TestDialStreamUnwritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(t)
		d := newDialing(t, server.accept)
		note := notify(d.client, "Test.Note", strings.Repeat("x", 100_000))
		synctest.Wait()
		call := d.adding(t.Context())
		later := notify(d.client, "Test.Note", nil)
		synctest.Wait()
		d.dials(hangs)
		server.cut()
		require.ErrorIs(t, <-note, jsonrpc2.ErrUnavailable, "a pipe takes nothing")
		require.ErrorIs(t, <-call, jsonrpc2.ErrUnavailable)
		require.ErrorIs(t, <-later, jsonrpc2.ErrUnavailable)

		d.dials(server.accept)
		note = notify(d.client, "Test.Note", strings.Repeat("x", 100_000))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		_, err := server.last().Read(make([]byte, 100))
		require.NoError(t, err)
		server.cut()
		require.ErrorIs(t, <-note, jsonrpc2.ErrUnconfirmed)
	})
}

// A server that closes an idle connection has done nothing wrong.
func TestDialStreamIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(t)
		d := newDialing(t, server.dial)
		for n := range 5 {
			d.requireAdds(t)
			require.Equal(t, n+1, d.tried())
			server.cut()
			time.Sleep(time.Hour)
			require.Equal(t, n+1, d.tried())
			require.NoError(t, d.conn.Err())
		}
		require.Empty(t, d.lines())
		require.Equal(t, jsonrpc2.RedialStats{Requests: 5, Replies: 5, Connects: 5}, d.conn.Stats())
	})
}

// A connection that fails while it is idle is made again at once: an error is no orderly end.
func TestDialStreamIdleError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(t)
		reset := make(chan struct{})
		d := newDialing(t, func(ctx context.Context) (io.ReadWriteCloser, error) {
			here, err := server.dial(ctx)
			return resetStream{here, reset}, err
		})
		d.requireAdds(t)
		d.dials(server.dial)
		close(reset)
		require.Equal(t, 2, d.tried())
		require.NoError(t, d.conn.Err())
		require.Equal(t, []string{"connection impaired, trying again: the connection has ended: connection reset", "connection works again"}, d.lines())
		d.requireAdds(t)
	})
}

// A failed write is an unexpected end, also if the peer has closed its side before: the Conn
// took that for an orderly end, with nothing under way, and stayed idle.
func TestDialStreamWriteFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialing(t, func(context.Context) (io.ReadWriteCloser, error) {
			_, here := net.Pipe()
			return halfDead{here}, nil
		})
		call := d.adding(t.Context())
		d.dials(hangs)
		err := <-call
		require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
		require.ErrorIs(t, err, io.ErrClosedPipe)
		time.Sleep(time.Second)
		require.Equal(t, 2, d.tried())
		require.ErrorIs(t, d.conn.Err(), io.ErrClosedPipe)
	})
}

// A write that fails just as the reading ends is an unexpected end, too: the Conn took that for an
// orderly end, with nothing under way, at times.
func TestDialStreamWriteFailsAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 2000 {
			end := make(chan struct{})
			d := newDialing(t, func(context.Context) (io.ReadWriteCloser, error) { return ending{end}, nil })
			call := d.adding(t.Context())
			d.dials(hangs)
			close(end)
			require.Error(t, <-call)
			time.Sleep(time.Second)
			require.Equal(t, 2, d.tried())
			require.ErrorContains(t, d.conn.Err(), "the connection has ended")
			require.NoError(t, d.client.Close())
		}
	})
}

// An ending stream ends on both sides when end is closed.
type ending struct{ end chan struct{} }

func (s ending) Read([]byte) (int, error) {
	<-s.end
	return 0, io.EOF
}

func (s ending) Write([]byte) (int, error) {
	<-s.end
	return 0, io.ErrClosedPipe
}

func (ending) Close() error { return nil }

// A halfDead stream can't be written to. What was read ends in order.
type halfDead struct{ net.Conn }

func (halfDead) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func (s halfDead) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if errors.Is(err, io.ErrClosedPipe) {
		err = io.EOF
	}
	return n, err
}

// A resetStream fails when its peer ends.
type resetStream struct {
	io.ReadWriteCloser
	reset chan struct{}
}

func (s resetStream) Read(p []byte) (int, error) {
	type read struct {
		n   int
		err error
	}
	done := make(chan read, 1)
	go func() {
		n, err := s.ReadWriteCloser.Read(p)
		done <- read{n, err}
	}()
	select {
	case r := <-done:
		return r.n, r.err
	case <-s.reset:
		_ = s.Close()
		<-done
		return 0, errors.New("connection reset")
	}
}

// The tries to reach a server that stays down become rarer, and stay rare while calls wait.
func TestDialStreamBackoff(t *testing.T) {
	for name, test := range map[string]struct {
		dial     func(*pipeServer) dialFunc
		callers  int
		min, max int // tries in 5 minutes
	}{
		"idle":                  {func(*pipeServer) dialFunc { return refuses(errRefused) }, 0, 60, 120},
		"called":                {func(*pipeServer) dialFunc { return refuses(errRefused) }, 8, 490, 600},
		"black hole":            {func(*pipeServer) dialFunc { return hangs }, 0, 28, 42},
		"a proxy of nothing":    {func(s *pipeServer) dialFunc { return s.end }, 8, 490, 600},
		"a proxy, nobody calls": {func(s *pipeServer) dialFunc { return s.end }, 0, 0, 0},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			d := newDialing(t, test.dial(newPipeServer(t)))
			_, err := d.add(t.Context())
			require.Error(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			var callers sync.WaitGroup
			for range test.callers {
				callers.Go(func() {
					for ctx.Err() == nil {
						_, _ = d.add(ctx)
						time.Sleep(10 * time.Millisecond)
					}
				})
			}
			time.Sleep(time.Minute)
			start := time.Now()
			time.Sleep(5 * time.Minute)
			n := d.triedSince(start)
			require.GreaterOrEqual(t, n, test.min)
			require.LessOrEqual(t, n, test.max)
			cancel()
			callers.Wait()
		}))
	}
}

// A request that comes in a long pause need not wait for its end.
func TestDialStreamPauseIsCutShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialing(t, refuses(errRefused))
		_, err := d.add(t.Context())
		require.ErrorIs(t, err, errRefused)
		time.Sleep(time.Hour)
		d.dials(newPipeServer(t).dial)
		d.requireAdds(t)
	})
}

// A dial that returns neither a stream nor an error counts as a try that has failed.
func TestDialStreamOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialing(t, refuses(nil))
		_, err := d.add(t.Context())
		require.EqualError(t, err, "jsonrpc2: not sent: no connection: dial returned no stream")
	})
}

// Requests that were answered are not kept, however many there were.
func TestDialStreamForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialing(t, newPipeServer(t).dial)
		for range 1000 {
			sum, err := jsonrpc2.Call[float64](t.Context(), d.client, "Calc.Add", calc.Args{A: 1, B: 1})
			require.NoError(t, err)
			require.EqualValues(t, 2, sum)
		}
		require.LessOrEqual(t, jsonrpc2.Tracked(d.conn), 64)
	})
}
