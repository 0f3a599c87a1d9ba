package redisconn_test

import (
	"context"
	"errors"
	"strings"
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

// dialServed returns a caller that requires a server.
func dialServed(t *testing.T, rdb redis.UniversalClient, opts redisconn.DialOptions, timeout time.Duration) caller {
	t.Helper()
	opts.RequireServer = true
	return dial(t, rdb, &opts, timeout)
}

// requireNoServer requires that a call and a notification fail, since nobody serves.
func requireNoServer(t *testing.T, c caller) {
	t.Helper()
	begin := time.Now()
	_, err := jsonrpc2.Call[float64](t.Context(), c.Client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	require.ErrorIs(t, err, jsonrpc2.ErrNoServer)
	require.True(t, strings.HasPrefix(err.Error(), jsonrpc2.ErrNoServer.Error()), err)
	for _, text := range []string{`queue "calc" at `, "no server has announced itself", "start one", "RequireServer"} {
		require.ErrorContains(t, err, text)
	}
	require.ErrorIs(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", calc.Args{}), jsonrpc2.ErrNoServer)
	require.Less(t, time.Since(begin), promptly)
}

// Where nobody serves requests fail at once and are not sent, from about a second after the
// drain of the last server on.
func TestRequireServer(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := brokertest.StartRedis(t).Client(t)
			c := dialServed(t, rdb, opts, 0)
			requireNoServer(t, c)
			requireEmpty(t, rdb)
			servicetest.EventuallyEqual(t, redisconn.ClientStats{Unsent: 2}, c.conn.Stats)
			require.NoError(t, c.conn.Err())

			w := serve(t, rdb, nil)
			requireServers(t, rdb, 1)
			servicetest.RequireCalls(t, c.Client, 20)
			w.End(t)
			drained := time.Now()
			err := errors.New("none yet")
			for !errors.Is(err, jsonrpc2.ErrNoServer) {
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // it may be sent, and is withdrawn
				_, err = jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{A: 1, B: 5.1})
				cancel()
				require.Error(t, err)
				require.Less(t, time.Since(drained), promptly)
			}
			before := rdb.LLen(t.Context(), queue).Val() // one that a busy machine left no time to withdraw
			requireNoServer(t, c)
			require.LessOrEqual(t, rdb.LLen(t.Context(), queue).Val(), before)
			c.end(t)
			require.NoError(t, rdb.Del(t.Context(), queue).Err())
			requireEmpty(t, rdb)
		})
	}
}

// A call that was sent while a server was there waits on when the last one goes, and its
// error says that there is none.
func TestRequireServerNotOfSentCalls(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	slow := servicetest.NewSlow()
	w := serveWith(t, rdb, nil, &jsonrpc2.ServerOptions{MaxInFlight: 1, Logger: servicetest.Quiet}, slow)
	requireServers(t, rdb, 1)
	c := dialServed(t, rdb, redisconn.DialOptions{}, 0)
	running := c.Go("Slow.Wait", 1, nil, nil)
	slow.RequireRunning(t, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // in which the server is gone
	defer cancel()
	failed := make(chan error)
	go func() {
		_, err := jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{A: 1, B: 5.1})
		failed <- err
	}()
	requireLen(t, rdb, queue, 1)
	w.Drain()
	requireServers(t, rdb, 0)
	err := <-failed
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	if !hurried(err) {
		requireTimeout(t, err, true, `requests waiting in queue "calc": 0, servers that have announced themselves: 0; Redis at `)
	}
	require.NotErrorIs(t, err, jsonrpc2.ErrNoServer)
	slow.Open()
	require.NoError(t, (<-running.Done).Error)
}

// The text of a timeout says how many servers there are, unless the client may not know.
func TestTimeoutTellsServers(t *testing.T) {
	t.Parallel()
	for _, allowed := range []bool{true, false} {
		broker := brokertest.StartRedis(t)
		rdb := broker.Client(t)
		slow := servicetest.NewSlow()
		serve(t, rdb, nil, slow)
		serve(t, rdb, nil, slow)
		requireServers(t, rdb, 2)
		var log servicetest.LogBook
		client := restricted(t, broker, rdb)
		if !allowed {
			setUser(t, rdb, "-zcount")
		}
		c := dial(t, client, &redisconn.DialOptions{Logger: log.Logger()}, brief)
		_, err := timedOut(func() error {
			_, err := jsonrpc2.Call[int](t.Context(), c.Client, "Slow.Wait", []int{1})
			return err
		})
		want := "servers that have announced themselves: 2"
		if allowed {
			requireTimeout(t, err, false, want)
		} else {
			requireTimeout(t, err, false, `requests waiting in queue "calc": 0; Redis at `)
		}
		slow.Open()
		require.Empty(t, log.String())
	}
}

// A client looks for servers once a second while it sends, and not while it does not.
func TestRequireServerLooksSeldom(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	serve(t, rdb, nil)
	requireServers(t, rdb, 1)
	c := dialServed(t, rdb, redisconn.DialOptions{}, 0)
	begin := time.Now()
	for commandCalls(rdb, "zcount") < 3 && time.Since(begin) < servicetest.Soon {
		c.requireAdds(t)
	}
	looks := commandCalls(rdb, "zcount")
	require.LessOrEqual(t, looks, 1+int(time.Since(begin)/time.Second))
	require.GreaterOrEqual(t, looks, 3)
	require.Never(t, func() bool { return commandCalls(rdb, "zcount") != looks }, 1500*time.Millisecond, 100*time.Millisecond)
}

// After a reconnect servers need time to announce themselves again: meanwhile requests are
// sent and wait.
func TestRequireServerAfterReconnect(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	c := dialServed(t, broker.Client(t), redisconn.DialOptions{}, 0)
	requireNoServer(t, c)
	requireBlocked(t, rdb, 1)
	broker.Restart() // the pop notices
	servicetest.Eventually(t, func() bool { return c.conn.Err() != nil })
	call := c.Go("Calc.Add", calc.Args{A: 1, B: 5.1}, nil, nil)
	rdb = broker.Client(t)
	requireLen(t, rdb, queue, 1)
	servicetest.Eventually(t, func() bool { return c.conn.Err() == nil })
	later := c.Go("Calc.Add", calc.Args{A: 1, B: 5.1}, nil, nil)
	requireLen(t, rdb, queue, 2)
	serve(t, rdb, nil)
	require.NoError(t, (<-call.Done).Error)
	require.NoError(t, (<-later.Done).Error)
}

// A client that can't look sends, and says so once.
func TestRequireServerWithoutRights(t *testing.T) {
	t.Parallel()
	for _, rules := range [][]string{{"-zcount"}, {"-@sortedset"}, {"-time", "-eval"}, {"resetkeys", "~calc", "~jsonrpc2:reply:*"}} {
		t.Run(strings.Join(rules, " "), func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			rdb := broker.Client(t)
			var log servicetest.LogBook
			c := dialServed(t, restricted(t, broker, rdb, rules...), redisconn.DialOptions{Logger: log.Logger()}, 0)
			call := c.Go("Calc.Add", calc.Args{A: 1, B: 5.1}, nil, nil)
			requireLen(t, rdb, queue, 1)
			serve(t, rdb, nil)
			require.NoError(t, (<-call.Done).Error)
			begin := time.Now()
			for time.Since(begin) < 1200*time.Millisecond { // until it looks again
				c.requireAdds(t)
			}
			require.Equal(t, 1, log.Count("level=WARN", "can't look for servers", "error="), &log)
			require.Equal(t, 1, log.Count(""), &log)
		})
	}
}

// On a Cluster a server is listed and required as elsewhere, whatever the queue's name.
func TestRequireServerOnCluster(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartRedisCluster(t, 3, 0)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
	t.Cleanup(func() { _ = rdb.Close() })
	for _, name := range []string{"calc", "a}b", "{}", "{a}b{c}"} {
		for _, perCall := range []bool{false, true} {
			conn := mustDial(t, rdb, name, &redisconn.DialOptions{RequireServer: true, ReplyPerCall: perCall, Logger: servicetest.Quiet})
			client := jsonrpc2.NewClient(conn, nil)
			add := func() error {
				_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
				return err
			}
			require.ErrorIs(t, add(), jsonrpc2.ErrNoServer, name)
			w := servicetest.Serve(t, mustListen(t, rdb, name, &redisconn.ListenOptions{Logger: servicetest.Quiet}), jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
			servicetest.Eventually(t, func() bool {
				found, err := redisconn.Servers(t.Context(), rdb, name)
				require.NoError(t, err)
				return len(found) == 1
			})
			require.NoError(t, add(), name)
			w.End(t)
			require.NoError(t, client.Close())
		}
	}
	requireClusterEmpty(t, rdb)
}

// A failover is no reason to say that nobody serves.
func TestRequireServerThroughFailover(t *testing.T) {
	t.Parallel()
	sentinel := brokertest.StartSentinel(t)
	connect := func() *redis.Client {
		rdb := redis.NewFailoverClient(&redis.FailoverOptions{MasterName: sentinel.MasterName, SentinelAddrs: sentinel.SentinelAddrs})
		t.Cleanup(func() { _ = rdb.Close() })
		return rdb
	}
	rdb := connect()
	serve(t, rdb, nil)
	requireServers(t, rdb, 1)
	c := dialServed(t, connect(), redisconn.DialOptions{}, 0)
	c.requireAdds(t)
	sentinel.Nodes[0].Kill()
	servicetest.Eventually(t, func() bool {
		_, err := c.add(1, 5.1)
		require.NotErrorIs(t, err, jsonrpc2.ErrNoServer)
		return err == nil
	})
	requireServers(t, rdb, 1)
}
