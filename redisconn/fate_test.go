package redisconn_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

const (
	aCall         = `{"jsonrpc":"2.0","id":"1","method":"add","params":[1,5.1]}`
	aNotification = `{"jsonrpc":"2.0","method":"add","params":[1,5.1]}`
)

// follow writes a request, and returns where its fate is told: nil for Sent, or the
// error of Fail.
func follow(t *testing.T, conn *redisconn.ClientConn, body string) <-chan error {
	t.Helper()
	fate := make(chan error, 10)
	r := jsonrpc2.NewRequest(t.Context(), []byte(body), jsonrpc2.Hooks{
		Sent: func() { fate <- nil },
		Fail: func(err error) { fate <- err },
	})
	require.NoError(t, conn.WriteRequest(r))
	return fate
}

// await waits for a fate.
func await(t *testing.T, fate <-chan error) error {
	t.Helper()
	select {
	case err := <-fate:
		return err
	case <-time.After(servicetest.Soon):
		require.FailNow(t, "nothing is told")
		return nil
	}
}

// A request is sent once Redis has it.
func TestSent(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := brokertest.StartRedis(t).Client(t)
			conn := opened(t, mustDial(t, rdb, queue, &opts))
			for i, body := range []string{aNotification, aCall, "[" + aNotification + "," + aCall + "]"} {
				require.NoError(t, await(t, follow(t, conn, body)))
				require.EqualValues(t, i+1, rdb.LLen(t.Context(), queue).Val())
				require.EqualValues(t, i+1, conn.Stats().Requests)
			}
			require.NoError(t, conn.Close())
		})
	}
}

// A request that is certainly not sent fails, be it a call or a notification. Formerly a
// notification failed unseen.
func TestUnsent(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name     string
		opts     redisconn.DialOptions
		setup    func(t *testing.T, broker *brokertest.Redis)
		sentinel error
		text     string
		stats    redisconn.ClientStats
	}{
		{
			name:     "no broker",
			setup:    func(_ *testing.T, broker *brokertest.Redis) { broker.Kill() },
			sentinel: jsonrpc2.ErrUnavailable,
			text:     "connection refused",
			stats:    redisconn.ClientStats{Unsent: 2},
		},
		{
			name:     "too many wait",
			opts:     redisconn.DialOptions{MaxBacklog: 1},
			setup:    func(t *testing.T, broker *brokertest.Redis) { push(t, broker.Client(t), add("there")) },
			sentinel: jsonrpc2.ErrOverloaded,
			text:     `requests waiting in queue "calc": 1`,
			stats:    redisconn.ClientStats{Overloaded: 2},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			test.opts.Logger = servicetest.Quiet
			conn := opened(t, mustDial(t, broker.Client(t), queue, &test.opts))
			test.setup(t, broker)
			for _, request := range []<-chan error{follow(t, conn, aCall), follow(t, conn, aNotification)} {
				err := await(t, request)
				requireSentinel(t, test.sentinel, err)
				require.ErrorContains(t, err, `queue "calc"`)
				require.ErrorContains(t, err, test.text)
				require.Empty(t, request)
			}
			require.Equal(t, test.stats, conn.Stats())
			require.NoError(t, conn.Close())
		})
	}
}

// requireSentinel requires an error that is a sentinel, for those who see its text
// alone, too.
func requireSentinel(t *testing.T, sentinel, err error) {
	t.Helper()
	require.ErrorIs(t, err, sentinel)
	require.True(t, strings.HasPrefix(err.Error(), sentinel.Error()), err)
}

// A notification whose push is not known to have arrived fails, and says so. A call
// waits: its answer comes. Formerly nobody was told of such a notification.
func TestUnconfirmed(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	proxy := brokertest.StartProxy(t, broker.Addr)
	rdb := broker.Client(t)
	conn := opened(t, mustDial(t, through(t, proxy), queue, &redisconn.DialOptions{Logger: servicetest.Quiet}))
	require.NoError(t, await(t, follow(t, conn, aNotification))) // there is a connection

	proxy.DropReply([]byte("lpush"))
	notification := follow(t, conn, aNotification)
	err := await(t, notification)
	requireSentinel(t, jsonrpc2.ErrUnconfirmed, err)
	require.Regexp(t, `: queue "calc" at `+proxy.Addr+`: .+`, err.Error())
	requireLen(t, rdb, queue, 2) // it has arrived

	proxy.DropReply([]byte("lpush"))
	call := follow(t, conn, aCall)
	requireLen(t, rdb, queue, 3)
	require.NoError(t, await(t, follow(t, conn, aNotification))) // what there was to tell is told
	require.Empty(t, call)
	require.Empty(t, notification)
	serve(t, rdb, nil)
	reply, err := conn.ReadReply(t.Context())
	require.NoError(t, err)
	require.Equal(t, six, string(reply.Body))
	require.NoError(t, conn.Close())
}

// When Close returns each request that was handed over has been sent, or has failed.
func TestCloseEndsRequests(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run("no broker, "+name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			conn := opened(t, mustDial(t, broker.Client(t), queue, &opts))
			broker.Kill()
			var requests []<-chan error
			for range 10 {
				requests = append(requests, follow(t, conn, aCall), follow(t, conn, aNotification))
			}
			require.NoError(t, requireQuickClose(t, conn))
			for _, request := range requests {
				require.Len(t, request, 1)
				err := <-request
				requireSentinel(t, jsonrpc2.ErrUnavailable, err)
				require.ErrorContains(t, err, "connection refused")
			}
			servicetest.EventuallyEqual(t, redisconn.ClientStats{Unsent: 20}, conn.Stats)
			require.ErrorIs(t, conn.WriteRequest(jsonrpc2.NewRequest(t.Context(), []byte(aCall), jsonrpc2.Hooks{})), net.ErrClosed)
		})
	}
	t.Run("not known", func(t *testing.T) {
		t.Parallel()
		broker := brokertest.StartRedis(t)
		proxy := brokertest.StartProxy(t, broker.Addr)
		conn := opened(t, mustDial(t, through(t, proxy), queue, &redisconn.DialOptions{Logger: servicetest.Quiet}))
		require.NoError(t, await(t, follow(t, conn, aNotification))) // there is a connection
		proxy.DropReply([]byte("lpush"))
		notification := follow(t, conn, aNotification)
		require.NoError(t, conn.Close())
		require.Len(t, notification, 1)
		requireSentinel(t, jsonrpc2.ErrUnconfirmed, <-notification)
		requireLen(t, broker.Client(t), queue, 2)
	})
}

// Notifications that can't be sent fail. Formerly they were lost unseen.
func TestUnsentNotificationsFail(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	var log servicetest.LogBook
	var stats jsonrpc2.ClientStats
	conn := mustDial(t, broker.Client(t), queue, &redisconn.DialOptions{Logger: servicetest.Quiet})
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: log.Logger(), Stats: &stats})
	broker.Kill()
	for range 3 {
		err := jsonrpc2.Notify(t.Context(), client, "Calc.Add", nil)
		require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
		require.ErrorContains(t, err, "connection refused")
	}
	require.NoError(t, client.Close())
	require.EqualValues(t, 3, stats.Snapshot().Unsent)
	require.Zero(t, log.Count(""), &log)
}

// What comes on the list of a call that has one of its own answers that call, or ends
// it: nothing else is taken from there. Formerly such a call waited for its timeout.
func TestOddReplyPerCall(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	c := dial(t, rdb, &redisconn.DialOptions{ReplyPerCall: true, Logger: servicetest.Quiet}, time.Hour)
	for name, test := range map[string]struct{ answer, text string }{
		"nameless error": {`{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"odd"}}`, "odd (JSON-RPC error -32600)"},
		"garbage":        {`-{garbage`, jsonrpc2.ErrBadReply.Error()},
		"nothing":        {``, jsonrpc2.ErrBadReply.Error()},
		"another's":      {`{"jsonrpc":"2.0","id":"another","result":1}`, jsonrpc2.ErrBadReply.Error() + `: queue "calc"`},
	} {
		call := c.Go("Calc.Add", []float64{1, 5.1}, new(float64), nil)
		id := member(t, pop(t, rdb, queue), "id")
		require.NoError(t, rdb.RPush(t.Context(), id, test.answer).Err())
		<-call.Done
		require.ErrorContains(t, call.Error, test.text, name)
	}
	serve(t, rdb, nil)
	c.requireAdds(t)
}

// Err says what is wrong for as long as it is.
func TestErr(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	w, c := serve(t, rdb, nil), dial(t, rdb, nil, 0)
	for _, conn := range []interface{ Err() error }{w.conn, c.conn} { // also with no call made
		servicetest.Eventually(t, func() bool { return conn.Err() == nil })
	}
	c.requireAdds(t)
	broker.Kill()
	for _, conn := range []interface{ Err() error }{w.conn, c.conn} {
		servicetest.Eventually(t, func() bool { return conn.Err() != nil })
		require.ErrorContains(t, conn.Err(), `queue "calc" at `+broker.Addr)
		servicetest.Eventually(t, func() bool { return strings.Contains(conn.Err().Error(), "connection refused") })
	}
	broker.Start()
	for _, conn := range []interface{ Err() error }{w.conn, c.conn} {
		servicetest.Eventually(t, func() bool { return conn.Err() == nil })
	}
	c.requireAdds(t)
	c.end(t)
	w.End(t)
	require.ErrorIs(t, c.conn.Err(), net.ErrClosed)
	require.ErrorIs(t, w.conn.Err(), net.ErrClosed)
}

// Err is the error that ended a ServerConn.
func TestErrOfWhatIsRefused(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()}) // as Redis before 7.0
	defer rdb.Close()
	conn := opened(t, mustListen(t, rdb, queue, leased()))
	require.ErrorContains(t, conn.Err(), "still connecting")
	_, err := conn.ReadRequest(t.Context())
	require.ErrorContains(t, err, "needs Redis 7.0")
	require.Equal(t, err, conn.Err())
	require.NoError(t, conn.Close())
	require.ErrorIs(t, conn.Err(), net.ErrClosed)
}
