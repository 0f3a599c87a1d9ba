package jsonrpc2_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/conntest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestPipeConformance(t *testing.T) {
	conntest.Run(t, func(*testing.T) conntest.Transport {
		dialed := make(chan jsonrpc2.ServerConn, 10)
		return conntest.Transport{
			Dial: func(testing.TB) jsonrpc2.ClientConn {
				here, there := jsonrpc2.Pipe()
				dialed <- there
				return here
			},
			Listen:    func(testing.TB) jsonrpc2.ServerConn { return <-dialed },
			Deadlines: true,
		}
	})
}

// A request that waits is withdrawn, and one that has begun learns that its caller is gone.
func TestPipeGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := jsonrpc2.Pipe()
		client := jsonrpc2.NewClient(here, nil)
		defer client.Close()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := jsonrpc2.Call[any](short, client, "Watch.Wait", nil)
		require.ErrorIs(t, err, jsonrpc2.ErrNotRun)
		require.Equal(t, context.DeadlineExceeded, short.Err())

		w := newWatch()
		served := make(chan error, 1)
		ctx, drain := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "the server's"))
		go func() { served <- jsonrpc2.Serve(ctx, newServer(t, w), there, nil) }()
		canceled, cancel := context.WithCancel(context.WithValue(t.Context(), ctxKey{}, "the caller's"))
		go func() { <-w.seen; cancel() }()
		_, err = jsonrpc2.Call[any](canceled, client, "Watch.Wait", nil)
		require.ErrorIs(t, err, context.Canceled)
		drain()
		require.NoError(t, <-served)
	})
}

// What a closed end leaves behind is told truly.
func TestPipeCloses(t *testing.T) {
	for name, test := range map[string]struct {
		close func(here jsonrpc2.ClientConn, there jsonrpc2.ServerConn) error
		want  error // of the request that waits
		errs  [2]error
	}{
		"server": {func(_ jsonrpc2.ClientConn, there jsonrpc2.ServerConn) error { return there.Close() },
			jsonrpc2.ErrUnavailable, [2]error{io.EOF, net.ErrClosed}},
		"client": {func(here jsonrpc2.ClientConn, _ jsonrpc2.ServerConn) error { return here.Close() },
			nil, [2]error{net.ErrClosed, io.EOF}}, // its codec ends its calls
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			here, there := jsonrpc2.Pipe()
			failed := make(chan error, 1)
			waiting := jsonrpc2.NewRequest(t.Context(), []byte(addOne), jsonrpc2.Hooks{Fail: func(err error) { failed <- err }})
			require.NoError(t, here.WriteRequest(waiting))
			require.NoError(t, here.Err())
			require.NoError(t, there.Err())
			require.NoError(t, test.close(here, there))
			if test.want != nil {
				require.ErrorIs(t, <-failed, test.want)
			}
			require.Equal(t, test.errs, [2]error{here.Err(), there.Err()})
			require.NoError(t, test.close(here, there), "once is enough")

			r := jsonrpc2.NewRequest(t.Context(), []byte(addOne), jsonrpc2.Hooks{})
			err := here.WriteRequest(r)
			require.True(t, errors.Is(err, net.ErrClosed) || errors.Is(err, jsonrpc2.ErrUnavailable), "%v", err)
			_, err = here.ReadReply(t.Context())
			require.Equal(t, io.EOF, err)
			if test.want == nil {
				d, err := there.ReadRequest(t.Context())
				require.NoError(t, err)
				require.ErrorIs(t, d.Reply([]byte("{}")), io.ErrClosedPipe)
			}
			_, err = there.ReadRequest(t.Context())
			require.Equal(t, io.EOF, err)
		}))
	}
}

// A notification runs though its client is closed, and its method's context lives on.
func TestPipeNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := jsonrpc2.Pipe()
		client := jsonrpc2.NewClient(here, nil)
		require.NoError(t, jsonrpc2.Notify(t.Context(), client, "Watch.Wait", nil))
		require.NoError(t, client.Close())
		w := newWatch()
		ctx, drain := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() {
			served <- jsonrpc2.Serve(ctx, newServer(t, w), there, &jsonrpc2.ServerOptions{Grace: time.Second})
		}()
		<-w.seen
		synctest.Wait()
		start := time.Now()
		drain()
		require.NoError(t, <-served)
		require.Equal(t, time.Second, time.Since(start), "Grace ended it")
	})
}

func TestPipeOverloaded(t *testing.T) {
	here, _ := jsonrpc2.Pipe()
	message := []byte(`"` + strings.Repeat("x", 1<<20) + `"`)
	var err error
	taken := 0
	for ; err == nil && taken < 20; taken++ {
		err = here.WriteRequest(jsonrpc2.NewRequest(t.Context(), message, jsonrpc2.Hooks{}))
	}
	require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
	require.Equal(t, 16, taken)
}

// A call that the server has not taken fails before the client learns that the server has
// closed: it failed as one that may have run, at times.
func TestPipeClosesLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := jsonrpc2.Pipe()
		var ended atomic.Bool
		go func() {
			_, _ = here.ReadReply(context.Background())
			ended.Store(true)
		}()
		failed := false
		waiting := jsonrpc2.NewRequest(t.Context(), []byte(addOne), jsonrpc2.Hooks{Fail: func(error) {
			synctest.Wait()
			failed = !ended.Load()
		}})
		require.NoError(t, here.WriteRequest(waiting))
		require.NoError(t, there.Close())
		require.True(t, failed)
		synctest.Wait()
		require.True(t, ended.Load())
	})
}

// A server that has replied closes at once: its client got io.EOF instead of the reply, at times.
func TestPipeReadsTheLastReply(t *testing.T) {
	t.Parallel()
	for range 12000 {
		here, there := jsonrpc2.Pipe()
		require.NoError(t, here.WriteRequest(rawRequest(t, addOne)))
		d, err := there.ReadRequest(t.Context())
		require.NoError(t, err)
		var server sync.WaitGroup
		server.Go(func() {
			_ = d.Reply([]byte("{}"))
			_ = there.Close()
		})
		_, err = here.ReadReply(t.Context())
		require.NoError(t, err)
		server.Wait()
	}
}

// A request that the server has dropped, as its caller was gone, did not run.
func TestPipeInquiryAboutDroppedRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := jsonrpc2.Pipe()
		ctx, giveUp := context.WithCancel(t.Context())
		dropped := jsonrpc2.NewRequest(ctx, []byte(addOne), jsonrpc2.Hooks{})
		taken := rawRequest(t, addOne)
		for _, r := range []*jsonrpc2.Request{dropped, taken} {
			require.NoError(t, here.WriteRequest(r))
		}
		giveUp()
		synctest.Wait()
		_, err := there.ReadRequest(t.Context())
		require.NoError(t, err)
		found := here.Inquire(t.Context(), []*jsonrpc2.Request{dropped, taken})
		require.ErrorIs(t, found[0], jsonrpc2.ErrNotRun)
		require.NoError(t, found[1])
	})
}
