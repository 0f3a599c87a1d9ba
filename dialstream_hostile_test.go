package jsonrpc2_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A greeter is a stream of a server that says something and resets the connection.
type greeter struct{ greeted bool }

func (g *greeter) Read(p []byte) (int, error) {
	if g.greeted {
		return 0, errors.New("connection reset")
	}
	g.greeted = true
	return copy(p, `{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"go away"}}`), nil
}

func (g *greeter) Write(p []byte) (int, error) { return len(p), nil }
func (g *greeter) Close() error                { return nil }

// A server that greets and resets each connection is not dialed without a pause: it was, as fast
// as the machine could, since each stream had brought something.
func TestDialStreamGreeting(t *testing.T) {
	for name, test := range map[string]struct {
		callers int
		max     int // tries in a minute
	}{
		"idle":   {0, 30},
		"called": {8, 2500},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			tries := 0
			d := newDialing(t, func(ctx context.Context) (io.ReadWriteCloser, error) {
				if tries++; tries > 2*test.max { // or the test would not end
					return hangs(ctx)
				}
				return new(greeter), nil
			})
			_, err := d.add(t.Context())
			require.ErrorIs(t, err, jsonrpc2.ErrReplyLost)
			ctx, cancel := context.WithCancel(t.Context())
			var callers sync.WaitGroup
			for range test.callers {
				callers.Go(func() {
					for ctx.Err() == nil {
						_, _ = d.add(ctx)
						time.Sleep(time.Millisecond)
					}
				})
			}
			time.Sleep(time.Minute)
			require.LessOrEqual(t, d.tried(), test.max)
			cancel()
			callers.Wait()
		}))
	}
}

// A call that was written in part is counted as Lost, as its error says.
func TestDialStreamLostInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDialing(t, func(context.Context) (io.ReadWriteCloser, error) {
			there, here := net.Pipe()
			go func() {
				_, _ = io.ReadFull(there, make([]byte, 20))
				_ = there.Close()
			}()
			return here, nil
		})
		_, err := d.add(t.Context())
		require.ErrorIs(t, err, jsonrpc2.ErrReplyLost)
		require.EqualValues(t, 1, d.conn.Stats().Lost)
	})
}
