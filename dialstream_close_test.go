package jsonrpc2_test

import (
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Whatever the Conn is doing, Close ends it soon, and what waits with it.
func TestDialStreamClose(t *testing.T) {
	deaf := func(context.Context) (io.ReadWriteCloser, error) {
		time.Sleep(time.Hour)
		return nil, errRefused
	}
	for name, test := range map[string]struct {
		dial func(*pipeServer) dialFunc
		want time.Duration // that Close takes
		err  string        // that it returns
		note error         // of a notification; nil: sent
	}{
		"idle":                 {nil, 0, "", nil},
		"dialing":              {func(*pipeServer) dialFunc { return hangs }, 0, "", jsonrpc2.ErrUnavailable},
		"dialing, a deaf dial": {func(*pipeServer) dialFunc { return deaf }, 2 * time.Second, "", jsonrpc2.ErrUnavailable},
		"pausing":              {func(*pipeServer) dialFunc { return refuses(errRefused) }, 0, "", jsonrpc2.ErrUnavailable},
		"connected":            {func(s *pipeServer) dialFunc { return s.dial }, 0, "", nil},
		"connected to one who pays no attention": {
			func(s *pipeServer) dialFunc { return s.accept }, 2 * time.Second,
			"bytes unsent: the peer took nothing more for 2s", jsonrpc2.ErrUnavailable,
		},
		"pausing, after an early end": {func(s *pipeServer) dialFunc { return s.end }, 0, "", jsonrpc2.ErrUnavailable},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			var d *dialing
			var note <-chan error
			if test.dial == nil {
				d = newDialing(t, nil)
			} else {
				d = newDialing(t, test.dial(newPipeServer(t)))
				note = notify(d.client, "Calc.Add", nil)
				synctest.Wait()
			}
			start := time.Now()
			err := d.client.Close()
			require.Equal(t, test.want, time.Since(start))
			if test.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.err)
			}
			if note != nil {
				require.ErrorIs(t, <-note, test.note)
			}
			require.ErrorIs(t, d.conn.Err(), net.ErrClosed)
			require.NoError(t, d.conn.Close())
			require.Zero(t, d.conn.Stats().Bytes)
			synctest.Wait() // the codec reads no more
			_, err = d.conn.ReadReply(context.Background())
			require.ErrorIs(t, err, io.EOF)
			require.ErrorIs(t, d.conn.WriteRequest(rawRequest(t, addOne)), net.ErrClosed)
			tried := d.tried()
			time.Sleep(2 * time.Hour)
			require.Equal(t, tried, d.tried())
		}))
	}
}

// A stream that comes too late is closed.
func TestDialStreamDialedTooLate(t *testing.T) {
	for name, late := range map[string]time.Duration{"while Close waits": time.Second, "after Close": time.Hour} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			server := newPipeServer(t)
			d := newDialing(t, func(ctx context.Context) (io.ReadWriteCloser, error) {
				<-ctx.Done()
				time.Sleep(late)
				return server.accept(ctx)
			})
			call := d.adding(t.Context())
			require.NoError(t, d.client.Close())
			require.Error(t, <-call)
			time.Sleep(2 * late)
			_, err := server.last().Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		}))
	}
}

// Shutdown waits for the calls under way, also for those that wait for a connection.
func TestDialStreamShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newPipeServer(t)
		d := newDialing(t, func(ctx context.Context) (io.ReadWriteCloser, error) {
			time.Sleep(time.Second)
			return server.dial(ctx)
		})
		call := d.adding(t.Context())
		require.NoError(t, jsonrpc2.Shutdown(t.Context(), d.client))
		require.NoError(t, <-call)
	})
}
