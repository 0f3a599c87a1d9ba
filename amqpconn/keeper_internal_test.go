package amqpconn

import (
	"bytes"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// writes notes what is written, write by write.
type writes struct {
	net.Conn
	seen []string
}

func (w *writes) Write(p []byte) (int, error) {
	w.seen = append(w.seen, string(p))
	return len(p), nil
}

func (w *writes) SetWriteDeadline(time.Time) error { return nil }

// Messages that are held go out in one write, in their order.
func TestWireHolds(t *testing.T) {
	t.Parallel()
	conn := &writes{}
	w := &wire{Conn: conn}
	write := func(text string) {
		n, err := w.Write([]byte(text))
		require.NoError(t, err)
		require.Equal(t, len(text), n)
	}
	write("a")
	w.hold()
	write("b")
	write("c")
	require.Equal(t, []string{"a"}, conn.seen)
	require.NoError(t, w.release())
	require.NoError(t, w.release(), "nothing is left")
	write("d")
	require.Equal(t, []string{"a", "bc", "d"}, conn.seen)

	w.hold()
	giant := string(bytes.Repeat([]byte("x"), maxHeld))
	write("e")
	write(giant) // too much to hold
	write("f")
	require.Equal(t, []string{"a", "bc", "d", "e", giant}, conn.seen)
	require.NoError(t, w.release())
	require.Equal(t, "f", conn.seen[5])
}

// A write that nobody reads ends by itself, and sooner by a deadline that is set
// meanwhile.
func TestWireEndsWrites(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, limit := range []time.Duration{time.Hour, time.Second} {
			here, there := net.Pipe()
			w := &wire{Conn: here}
			begin := time.Now()
			const meanwhile = time.Millisecond
			time.AfterFunc(meanwhile, func() { _ = w.SetDeadline(begin.Add(limit)) })
			_, err := w.Write([]byte("x"))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			require.Equal(t, min(limit, meanwhile+writeTimeout), time.Since(begin))
			require.NoError(t, here.Close())
			require.NoError(t, there.Close())
		}
	})
}

// If each connection is ended because of what comes over it, fewer than 20 are made in a
// minute.
func TestFlapsAreFew(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"refused":    &amqp.Error{Code: amqp.PreconditionFailed, Server: true},
		"unreadable": &amqp.Error{Code: amqp.FrameError, Reason: amqp.ErrSyntax.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var f flaps
				begin, connections := time.Now(), 0
				for ; time.Since(begin) < time.Minute; connections++ {
					f.count(time.Now(), err)
					time.Sleep(f.pause())
				}
				require.Less(t, connections, 20)
				require.Greater(t, connections, 5)
				time.Sleep(steady)
				f.count(time.Now().Add(-steady), err)
				require.Zero(t, f)
				f.count(time.Now(), &amqp.Error{Code: amqp.FrameError, Reason: "EOF"})
				require.Zero(t, f, "the network's faults are not counted")
			})
		})
	}
}
