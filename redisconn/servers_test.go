package redisconn_test

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// announcedTime is how long an announcement lasts.
const announcedTime = 30 * time.Second

// servers returns those that have announced themselves.
func servers(t *testing.T, rdb redis.UniversalClient) []redisconn.Server {
	t.Helper()
	found, err := redisconn.Servers(t.Context(), rdb, queue)
	require.NoError(t, err)
	return found
}

// requireServers waits until so many servers have announced themselves, and returns them.
func requireServers(t *testing.T, rdb redis.UniversalClient, n int) (found []redisconn.Server) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		found = servers(t, rdb)
		return len(found) == n
	}, "want %d servers", n)
	return found
}

// Servers are listed while they serve, and no longer from the begin of a drain on.
func TestServers(t *testing.T) {
	t.Parallel()
	for _, atLeastOnce := range []bool{false, true} {
		t.Run(fmt.Sprint("at least once ", atLeastOnce), func(t *testing.T) {
			t.Parallel()
			rdb := brokertest.StartRedis(t).Client(t)
			require.Empty(t, servers(t, rdb))
			slow := servicetest.NewSlow()
			opts := leased()
			opts.Guarantee = guarantee(atLeastOnce)
			began := time.Now().Add(-time.Millisecond) // Since has milliseconds
			first := serveWith(t, rdb, opts, &jsonrpc2.ServerOptions{MaxInFlight: 7, Logger: servicetest.Quiet}, slow)
			found := requireServers(t, rdb, 1)
			host, err := os.Hostname()
			require.NoError(t, err)
			require.NotEmpty(t, found[0].ID)
			require.WithinRange(t, found[0].Since, began, time.Now())
			require.Equal(t, redisconn.Server{ID: found[0].ID, Host: host, PID: os.Getpid(), Places: 7, Since: found[0].Since}, found[0])

			opts.Prefetch = 5
			second := serve(t, rdb, opts)
			both := requireServers(t, rdb, 2)
			require.Equal(t, found[0], both[0], "the oldest is the first")
			require.NotEqual(t, both[0].ID, both[1].ID)
			require.Equal(t, 5, both[1].Places)
			requireBlocked(t, rdb, 2) // both wait for requests
			second.End(t)

			push(t, rdb, wait(1, "there"))
			slow.RequireRunning(t, 1)
			first.Drain()
			drained := time.Now()
			requireServers(t, rdb, 0)
			require.Less(t, time.Since(drained), announcedTime/2, "it has not ended by itself")
			require.EqualValues(t, 1, slow.Running.Load())
			slow.Open()
			require.Contains(t, pop(t, rdb, "there"), `"result":1`)
			first.End(t)
			requireEmpty(t, rdb)
		})
	}
}

// Close withdraws an announcement without a drain before it.
func TestCloseWithdrawsAnnouncement(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	conn := opened(t, mustListen(t, rdb, queue, nil))
	push(t, rdb, `{"jsonrpc":"2.0","method":"note"}`)
	_, err := conn.ReadRequest(t.Context())
	require.NoError(t, err)
	requireServers(t, rdb, 1)
	require.NoError(t, conn.Close())
	requireEmpty(t, rdb)
}

// A process that is killed is listed for no longer than its announcement lasts, and leaves
// no key for ever.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	v := startVictim(t, broker)
	requireServers(t, v.rdb, 1)
	v.Kill()
	now := v.rdb.Time(t.Context()).Val()
	left, err := v.rdb.ZRangeWithScores(t.Context(), serversKey, 0, -1).Result()
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.LessOrEqual(t, time.UnixMilli(int64(left[0].Score)).Sub(now), announcedTime)
	expires := v.rdb.PTTL(t.Context(), serversKey).Val()
	require.Positive(t, expires)
	require.LessOrEqual(t, expires, announcedTime)

	require.Len(t, servers(t, v.rdb), 1)
	ended := redis.Z{Score: float64(now.UnixMilli()), Member: left[0].Member} // as if its time was over
	require.NoError(t, v.rdb.ZAdd(t.Context(), serversKey, ended).Err())
	require.Empty(t, servers(t, v.rdb))
	serve(t, v.rdb, leased())
	requireServers(t, v.rdb, 1)
	require.EqualValues(t, 1, v.rdb.ZCard(t.Context(), serversKey).Val(), "the ended one is removed")
}

// What strangers write is no server, and no obstacle.
func TestServersOfStrangers(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	good, err := json.Marshal(redisconn.Server{ID: "foreign", Places: 3})
	require.NoError(t, err)
	for _, member := range []string{"", "x", "{", "{}", "[]", "null", "7", `{"id":7}`, `{"id":""}`, `{"id":"a","since":"x"}`, string(good)} {
		require.NoError(t, rdb.ZAdd(t.Context(), serversKey, redis.Z{Score: 1e15, Member: member}).Err())
	}
	require.Equal(t, []redisconn.Server{{ID: "foreign", Places: 3}}, servers(t, rdb))

	require.NoError(t, rdb.Del(t.Context(), serversKey).Err())
	require.NoError(t, rdb.Set(t.Context(), serversKey, "in the way", 0).Err())
	_, err = redisconn.Servers(t.Context(), rdb, queue)
	require.ErrorContains(t, err, "WRONGTYPE")
	require.ErrorContains(t, err, `queue "calc" at `+rdb.Options().Addr)
	var log servicetest.LogBook
	w := serve(t, rdb, &redisconn.ListenOptions{Logger: log.Logger()})
	servicetest.Eventually(t, func() bool { return log.Count("level=WARN", "server can't announce itself", "WRONGTYPE") == 1 }, &log)
	dial(t, rdb, nil, 0).requireAdds(t)
	w.End(t)
	require.Equal(t, 1, log.Count(""), &log)
}

func TestServersArguments(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	_, err := redisconn.Servers(t.Context(), nil, queue)
	require.ErrorContains(t, err, "the client is nil")
	_, err = redisconn.Servers(t.Context(), broker.Client(t), "")
	require.ErrorContains(t, err, "the queue has no name")
	_, err = redisconn.Servers(t.Context(), restricted(t, broker, broker.Client(t), "-time", "-eval"), queue)
	require.ErrorContains(t, err, "the time of Redis is not known")
	broker.Kill()
	_, err = redisconn.Servers(t.Context(), broker.Client(t), queue)
	require.ErrorContains(t, err, "connection refused")
}

// A server announces itself again when Redis has lost its data, at once and not after a
// period.
func TestAnnouncedAgain(t *testing.T) {
	t.Parallel()
	for _, atLeastOnce := range []bool{false, true} {
		for name, fault := range map[string]func(*testing.T, *brokertest.Redis, *brokertest.Proxy){
			"restarted": func(_ *testing.T, broker *brokertest.Redis, _ *brokertest.Proxy) { broker.Restart() },
			"flushed": func(t *testing.T, broker *brokertest.Redis, proxy *brokertest.Proxy) {
				require.NoError(t, broker.Client(t).FlushAll(t.Context()).Err())
				proxy.Cut()
			},
		} {
			t.Run(fmt.Sprint(name, ", at least once ", atLeastOnce), func(t *testing.T) {
				t.Parallel()
				broker := brokertest.StartRedis(t)
				proxy := brokertest.StartProxy(t, broker.Addr)
				opts := leased()
				opts.Guarantee = guarantee(atLeastOnce)
				w := serve(t, through(t, proxy), opts)
				rdb := broker.Client(t)
				before := requireServers(t, rdb, 1)
				requireBlocked(t, rdb, 1)
				begin := time.Now()
				fault(t, broker, proxy)
				rdb = broker.Client(t)
				require.Equal(t, before, requireServers(t, rdb, 1))
				require.Less(t, time.Since(begin), promptly) // a period is 15 s
				push(t, rdb, add("there"))                   // so that the server knows that Redis works again
				require.Equal(t, six, pop(t, rdb, "there"))
				servicetest.Eventually(t, func() bool { return w.conn.Err() == nil })
				w.End(t)
				require.Empty(t, servers(t, rdb))
			})
		}
	}
}

// A server without a right that its announcement needs says so once, and serves. It needs no
// right to run scripts.
func TestAnnouncedWithoutRights(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		rules     []string
		announced int
		text      string
	}{
		{[]string{"-zadd"}, 0, "server can't announce itself"},
		{[]string{"-@sortedset"}, 0, "server can't announce itself"},
		{[]string{"-zrem"}, 1, "server can't withdraw its announcement"},
		{[]string{"-eval", "-evalsha"}, 1, ""},
		{[]string{"-eval", "-evalsha", "-pexpire"}, 1, ""},
		{[]string{"-zremrangebyscore", "-pexpire"}, 1, ""},
	} {
		t.Run(fmt.Sprint(test.rules), func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			rdb := broker.Client(t)
			var log servicetest.LogBook
			w := serve(t, restricted(t, broker, rdb, test.rules...), &redisconn.ListenOptions{Logger: log.Logger()})
			c := dial(t, rdb, nil, 0)
			c.requireAdds(t)
			if test.announced > 0 {
				requireServers(t, rdb, test.announced)
				servicetest.Eventually(t, func() bool { return rdb.PTTL(t.Context(), serversKey).Val() > 0 })
			} else {
				servicetest.Eventually(t, func() bool { return log.Count(test.text) == 1 }, &log)
				require.Empty(t, servers(t, rdb))
			}
			c.end(t)
			w.End(t)
			if test.text == "" {
				require.Empty(t, log.String())
				requireEmpty(t, rdb)
				return
			}
			require.Equal(t, 1, log.Count("level=WARN", test.text, "error="), &log)
			require.Equal(t, 1, log.Count(""), &log)
			requireOnlyServers(t, rdb)
		})
	}
}

// No answer goes where servers announce themselves.
func TestNoAnswerToServersKey(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	w := serve(t, rdb, nil)
	requireServers(t, rdb, 1)
	push(t, rdb, add(serversKey), add("there"))
	require.Equal(t, six, pop(t, rdb, "there"))
	require.EqualValues(t, 1, w.conn.Stats().Refused)
	require.Zero(t, w.conn.Stats().Undelivered)
}

// A Close ends in time though the announcement can't be withdrawn.
func TestCloseAnnouncedWhileStalled(t *testing.T) {
	t.Parallel()
	for killed, limit := range map[bool]time.Duration{true: promptly, false: 21*time.Second + promptly} {
		for _, atLeastOnce := range []bool{false, true} {
			t.Run(fmt.Sprint("killed ", killed, ", at least once ", atLeastOnce), func(t *testing.T) {
				t.Parallel()
				broker := brokertest.StartRedis(t)
				rdb := broker.Client(t)
				var log servicetest.LogBook
				opts := leased()
				opts.Guarantee, opts.Logger = guarantee(atLeastOnce), log.Logger()
				w := serve(t, broker.Client(t), opts)
				requireServers(t, rdb, 1)
				if killed {
					broker.Kill()
				} else {
					broker.Stop()
					defer broker.Cont()
				}
				begin := time.Now()
				w.Drain()
				<-w.Done
				t.Logf("closed after %v: %v", time.Since(begin), w.Err)
				w.Err = nil
				require.Less(t, time.Since(begin), limit)
				require.Zero(t, log.Count("use of closed network connection"), &log) // which the server itself has closed
			})
		}
	}
}
