package redisconn_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// replyModes are both ways to be answered.
var replyModes = map[string]redisconn.DialOptions{
	"one reply list":   {Logger: servicetest.Quiet},
	"a list per call":  {Logger: servicetest.Quiet, ReplyPerCall: true},
	"a prefix of ours": {Logger: servicetest.Quiet, ReplyPrefix: "us:"},
}

func TestCalls(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := brokertest.StartRedis(t).Client(t)
			counter := new(servicetest.Counter)
			w := serve(t, rdb, nil, counter)
			c := dial(t, rdb, &opts, 0)
			servicetest.RequireCalls(t, c.Client, 20)
			require.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Counter.Count", nil))
			servicetest.Eventually(t, func() bool { return counter.N.Load() == 1 })
			c.end(t)
			w.End(t)
			requireEmpty(t, rdb)
		})
	}
}

// What waits is taken at once, so a big answer must not hold back the others.
func TestGiants(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	serve(t, rdb, nil, Echo{})
	c := dial(t, rdb, nil, 0)
	giant := strings.Repeat("<&>x", 200_000)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			got, err := jsonrpc2.Call[string](context.Background(), c.Client, "Echo.Echo", giant)
			if err != nil || got != giant {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	_, err := jsonrpc2.Call[string](context.Background(), c.Client, "Echo.Echo", strings.Repeat(giant, 6))
	require.ErrorIs(t, err, jsonrpc2.ErrTooLarge)
	c.requireAdds(t)
}

// Echo is a service that returns what it is given.
type Echo struct{}

// Echo returns its argument.
func (Echo) Echo(text string, reply *string) error {
	*reply = text
	return nil
}

func TestBadOptions(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer rdb.Close()

	t.Run("Dial", func(t *testing.T) {
		for _, test := range []struct {
			want  string
			rdb   redis.UniversalClient
			queue string
			opts  redisconn.DialOptions
		}{
			{want: "no name", rdb: rdb},
			{want: `queue "calc": the client is`, queue: queue},
			{want: "MaxBacklog is -1", rdb: rdb, queue: queue, opts: redisconn.DialOptions{MaxBacklog: -1}},
			{want: "ReplyPrefix is longer than 1", rdb: rdb, queue: queue, opts: redisconn.DialOptions{ReplyPrefix: strings.Repeat("x", 128)}},
		} {
			conn, err := redisconn.Dial(test.rdb, test.queue, &test.opts)
			require.ErrorContains(t, err, test.want)
			require.Nil(t, conn)
		}
	})
	t.Run("Listen", func(t *testing.T) {
		for _, test := range []struct {
			want  string
			rdb   redis.UniversalClient
			queue string
			opts  redisconn.ListenOptions
		}{
			{want: "no name", rdb: rdb},
			{want: `queue "calc": the client is`, queue: queue},
			{want: "Prefetch is -1", rdb: rdb, queue: queue, opts: redisconn.ListenOptions{Prefetch: -1}},
			{want: "ReplyTTL is 1µs, less than 1", rdb: rdb, queue: queue, opts: redisconn.ListenOptions{ReplyTTL: time.Microsecond}},
			{want: "ReplyTTL is -1s, less than 1", rdb: rdb, queue: queue, opts: redisconn.ListenOptions{ReplyTTL: -time.Second}},
			{want: "Guarantee is -1", rdb: rdb, queue: queue, opts: redisconn.ListenOptions{Guarantee: jsonrpc2.BrokerDefault - 1}},
			{want: "Guarantee is 3", rdb: rdb, queue: queue, opts: redisconn.ListenOptions{Guarantee: jsonrpc2.AtLeastOnce + 1}},
		} {
			conn, err := redisconn.Listen(test.rdb, test.queue, &test.opts)
			require.ErrorContains(t, err, test.want)
			require.Nil(t, conn)
		}
	})
}

func TestStats(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	w := serve(t, rdb, nil)
	c := dial(t, rdb, nil, 0)
	for range 3 {
		c.requireAdds(t)
	}
	servicetest.Eventually(t, func() bool { return c.conn.Stats() == redisconn.ClientStats{Requests: 3, Replies: 3} })
	servicetest.Eventually(t, func() bool { return w.conn.Stats() == redisconn.ServerStats{Requests: 3, Replies: 3} })
}

func TestCloseOfWhatWasNeverUsed(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	for range 3 {
		conn := mustListen(t, rdb, queue, nil)
		require.NoError(t, conn.Close())
		require.NoError(t, conn.Close())
		_, err := conn.ReadRequest(context.Background())
		require.ErrorIs(t, err, io.EOF)
		require.NoError(t, mustDial(t, rdb, queue, nil).Close())
	}
	requireEmpty(t, rdb)
}

// Close ends a read under way, on both ends, though Redis blocks.
func TestCloseWhileBlocked(t *testing.T) {
	t.Parallel()
	readReply := func(conn *redisconn.ClientConn) (io.Closer, func() error) {
		return conn, func() error { _, err := conn.ReadReply(context.Background()); return err }
	}
	for name, open := range map[string]func(t *testing.T, rdb redis.UniversalClient) (io.Closer, func() error){
		"client": func(t *testing.T, rdb redis.UniversalClient) (io.Closer, func() error) {
			return readReply(opened(t, mustDial(t, rdb, queue, nil)))
		},
		"per call": func(t *testing.T, rdb redis.UniversalClient) (io.Closer, func() error) {
			conn := opened(t, mustDial(t, rdb, queue, &redisconn.DialOptions{ReplyPerCall: true}))
			write(t, conn, `{"jsonrpc":"2.0","id":"1","method":"x"}`) // else it would not block
			return readReply(conn)
		},
		"server": func(t *testing.T, rdb redis.UniversalClient) (io.Closer, func() error) {
			conn := opened(t, mustListen(t, rdb, queue, nil))
			return conn, func() error { _, err := conn.ReadRequest(context.Background()); return err }
		},
	} {
		t.Run(name, func(t *testing.T) {
			rdb := brokertest.StartRedis(t).Client(t)
			begin := time.Now()
			conn, read := open(t, rdb)
			ended := make(chan error, 1)
			go func() { ended <- read() }()
			requireBlocked(t, rdb, 1)
			require.NoError(t, conn.Close())
			require.Less(t, time.Since(begin), blockTime) // the pop, which began later, has not ended by itself
			require.ErrorIs(t, <-ended, io.EOF)
			require.NoError(t, conn.Close())
			require.NoError(t, rdb.Del(context.Background(), queue).Err())
			requireEmpty(t, rdb)
		})
	}
}

// blockTime is how long a pop blocks.
const blockTime = 5 * time.Second

// requireBlocked waits until so many connections are blocked in a pop.
func requireBlocked(t *testing.T, rdb *redis.Client, n int) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		return strings.Contains(rdb.Info(context.Background(), "clients").Val(), fmt.Sprintf("blocked_clients:%d\r\n", n))
	}, "want %d blocked connections", n)
}

// A plain client.Call has nothing but a text for an error.
func TestPlainCall(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	c := dial(t, broker.Client(t), nil, 0)
	serve(t, broker.Client(t), nil)
	var sum float64
	require.NoError(t, c.Call("Calc.Add", calc.Args{A: 1, B: 5.1}, &sum))
	require.Equal(t, 6.1, sum)
	broker.Kill()
	err := c.Call("Calc.Add", calc.Args{A: 1, B: 5.1}, &sum)
	require.Error(t, err)
	require.True(t, strings.HasPrefix(err.Error(), jsonrpc2.ErrUnavailable.Error()), "got %v", err)
	require.Contains(t, err.Error(), `queue "calc"`)
	require.Contains(t, err.Error(), "connection refused")
	broker.Start()
	servicetest.Eventually(t, func() bool { return c.Call("Calc.Add", calc.Args{A: 1, B: 5.1}, &sum) == nil })
}
