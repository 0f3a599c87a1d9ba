package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/rpc"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis would tell of the connections that the tests break
	if os.Getenv(serveAddr) != "" {
		serveProcess()
		return
	}
	goleak.VerifyTestMain(brokertest.Main(m))
}

const (
	queue      = "calc"
	serversKey = "{calc}:servers"
)

// mustDial returns a ClientConn with good options.
func mustDial(t testing.TB, rdb redis.UniversalClient, queue string, opts *redisconn.DialOptions) *redisconn.ClientConn {
	t.Helper()
	conn, err := redisconn.Dial(rdb, queue, opts)
	require.NoError(t, err)
	return conn
}

// mustListen returns a ServerConn with good options.
func mustListen(t testing.TB, rdb redis.UniversalClient, queue string, opts *redisconn.ListenOptions) *redisconn.ServerConn {
	t.Helper()
	conn, err := redisconn.Listen(rdb, queue, opts)
	require.NoError(t, err)
	return conn
}

// guarantee returns the Guarantee of a test for both.
func guarantee(atLeastOnce bool) jsonrpc2.Guarantee {
	if atLeastOnce {
		return jsonrpc2.AtLeastOnce
	}
	return jsonrpc2.AtMostOnce
}

// opened opens a Conn as a codec does, without a limit of the codec's own.
func opened[C interface{ Open(jsonrpc2.Settings) error }](t testing.TB, conn C) C {
	t.Helper()
	require.NoError(t, conn.Open(jsonrpc2.Settings{
		MessageSize: jsonrpc2.DefaultMaxMessageSize,
		InFlight:    math.MaxInt,
		Lost:        func(body []byte, why error) { t.Logf("lost: %s: %v", body, why) },
	}))
	return conn
}

// write writes a request whose end is not looked at.
func write(t *testing.T, conn *redisconn.ClientConn, body string) *jsonrpc2.Request {
	t.Helper()
	r := jsonrpc2.NewRequest(context.Background(), []byte(body), jsonrpc2.Hooks{})
	require.NoError(t, conn.WriteRequest(r))
	return r
}

// A worker is a running server of the queue.
type worker struct {
	*servicetest.Server
	conn *redisconn.ServerConn
}

// serve starts a worker that serves Calc and the other services given. The
// test's cleanup ends it.
func serve(t *testing.T, rdb redis.UniversalClient, opts *redisconn.ListenOptions, services ...any) *worker {
	t.Helper()
	return serveWith(t, rdb, opts, &jsonrpc2.ServerOptions{Logger: servicetest.Quiet}, services...)
}

func serveWith(t *testing.T, rdb redis.UniversalClient, opts *redisconn.ListenOptions, codec *jsonrpc2.ServerOptions, services ...any) *worker {
	t.Helper()
	if opts == nil {
		opts = &redisconn.ListenOptions{Logger: servicetest.Quiet}
	}
	conn := mustListen(t, rdb, queue, opts)
	return &worker{servicetest.Serve(t, conn, *codec, services...), conn}
}

// A caller is a client of the queue.
type caller struct {
	*rpc.Client
	conn *redisconn.ClientConn
}

// dial returns a caller, closed by the test's cleanup. A zero timeout is the
// default.
func dial(t *testing.T, rdb redis.UniversalClient, opts *redisconn.DialOptions, timeout time.Duration) caller {
	t.Helper()
	if opts == nil {
		opts = &redisconn.DialOptions{Logger: servicetest.Quiet}
	}
	conn := mustDial(t, rdb, queue, opts)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc", Timeout: timeout, Logger: servicetest.Quiet})
	t.Cleanup(func() { _ = client.Close() })
	return caller{client, conn}
}

func (c caller) add(a, b float64) (float64, error) { return servicetest.Add(c.Client, a, b) }

func (c caller) requireAdds(t *testing.T) {
	t.Helper()
	servicetest.RequireAdds(t, c.Client)
}

// end closes the caller before the test ends.
func (c caller) end(t *testing.T) {
	t.Helper()
	require.NoError(t, c.Close())
}

// together returns a t.Run whose subtests run beside one another, twelve at a time,
// and what waits for them: for those that wait most of the time.
func together(t *testing.T) (start func(name string, test func(t *testing.T)), wait func()) {
	var running sync.WaitGroup
	places := make(chan struct{}, 12)
	start = func(name string, test func(t *testing.T)) {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			t.Run(name, test)
		})
	}
	return start, running.Wait
}

func requireLen(t *testing.T, rdb redis.UniversalClient, list string, n int64) {
	t.Helper()
	var got int64
	servicetest.Eventually(t, func() bool {
		got = rdb.LLen(context.Background(), list).Val()
		return got == n
	}, "want %d values on %s, have %d", n, list, got)
}

// requireEmpty requires that no key is left.
func requireEmpty(t *testing.T, rdb *redis.Client) {
	t.Helper()
	keys, err := rdb.Keys(context.Background(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
}

// requireOnlyServers requires that no key is left but the announcements of servers, those
// that serve and those that have died. They expire.
func requireOnlyServers(t *testing.T, rdb *redis.Client) {
	t.Helper()
	keys, err := rdb.Keys(context.Background(), "*").Result()
	require.NoError(t, err)
	require.Subset(t, []string{serversKey}, keys)
	require.NotEqual(t, time.Duration(-1), rdb.PTTL(context.Background(), serversKey).Val())
}

// push pushes raw requests at once, oldest first.
func push(t *testing.T, rdb redis.UniversalClient, requests ...string) {
	t.Helper()
	require.NoError(t, rdb.LPush(context.Background(), queue, requests).Err())
}

// pop waits for a reply on a list.
func pop(t *testing.T, rdb redis.UniversalClient, list string) string {
	t.Helper()
	taken, err := rdb.BRPop(context.Background(), servicetest.Soon, list).Result()
	require.NoError(t, err, "no reply on %s", list)
	return taken[1]
}

// requireUnavailable requires an error that says that a call was not sent.
func requireUnavailable(t *testing.T, err error) {
	t.Helper()
	require.True(t, errors.Is(err, jsonrpc2.ErrUnavailable), "got %v", err)
}

// commandCalls returns how often a command was called, from the server's
// statistics.
func commandCalls(rdb *redis.Client, command string) int {
	return numberAfter(rdb.Info(context.Background(), "commandstats").Val(), "cmdstat_"+command+":calls=")
}

// numberAfter returns the number that follows a word in a text.
func numberAfter(text, word string) (n int) {
	if _, rest, ok := strings.Cut(text, word); ok {
		_, _ = fmt.Sscanf(rest, "%d", &n)
	}
	return n
}
