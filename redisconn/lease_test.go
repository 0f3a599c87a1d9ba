package redisconn_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
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

// The keys of servers of the queue.
const (
	workersKey  = "{calc}:workers"
	readyKey    = "{calc}:ready"
	suspectsKey = "{calc}:suspects"
	deadKey     = "{calc}:dead"
)

func heldKey(generation string) string { return "{calc}:held:" + generation }

// generations returns those of the servers of the queue.
func generations(t *testing.T, rdb redis.UniversalClient) []string {
	t.Helper()
	all, err := rdb.HKeys(context.Background(), workersKey).Result()
	require.NoError(t, err)
	return slices.DeleteFunc(all, func(field string) bool { return field == "layout" })
}

// leased returns options with a lease that nobody waits long for.
func leased() *redisconn.ListenOptions {
	return &redisconn.ListenOptions{Guarantee: jsonrpc2.AtLeastOnce, Lease: 300 * time.Millisecond, Logger: servicetest.Quiet}
}

// steadyLease is the lease of a server beside others, where none must count as silent: a busy machine
// may hold up one of them for longer than the lease of leased.
const steadyLease = 2 * time.Second

// A dying worker reads from a queue and never answers.
type dying struct {
	*redisconn.ServerConn
	proxy *brokertest.Proxy
	ctx   context.Context
}

// listenDying returns a worker whose connections die will cut.
func listenDying(t *testing.T, broker *brokertest.Redis, opts *redisconn.ListenOptions) dying {
	t.Helper()
	proxy := brokertest.StartProxy(t, broker.Addr)
	rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr})
	t.Cleanup(func() { _ = rdb.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), servicetest.Soon)
	t.Cleanup(cancel)
	return dying{opened(t, mustListen(t, rdb, queue, opts)), proxy, ctx}
}

// read reads a request.
func (d dying) read(t *testing.T) jsonrpc2.Delivery {
	t.Helper()
	request, err := d.ReadRequest(d.ctx)
	require.NoError(t, err)
	return request
}

// die ends the worker as a kill does: it says nothing more. Its Close, which tries
// for some seconds, goes on until the test's cleanup.
func (d dying) die(t *testing.T) {
	t.Helper()
	d.proxy.Refuse(true)
	closed := make(chan error, 1)
	go func() { closed <- d.Close() }()
	t.Cleanup(func() { require.NoError(t, <-closed) })
}

// The requests that a server had taken when it died run on another one, in the old order.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	d := listenDying(t, broker, leased())
	push(t, rdb, waits(3, "there")...)
	d.read(t)
	require.Zero(t, rdb.LLen(context.Background(), queue).Val())
	require.Len(t, generations(t, rdb), 1)
	d.die(t)

	slow := servicetest.NewSlow()
	slow.Open()
	w := serve(t, rdb, leased(), slow)
	var answers []string
	for range 3 {
		answers = append(answers, pop(t, rdb, "there"))
	}
	require.Contains(t, strings.Join(answers, ""), `"result":1`)
	require.EqualValues(t, 3, slow.Ran.Load())
	require.Equal(t, []int{0, 1, 2}, slow.Order())
	servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies == 3 })
	servicetest.EventuallyEqual(t, 3, func() int64 { return w.conn.Stats().TakenOver })
	w.End(t)
	requireOnlyServers(t, rdb) // that died
}

// A worker whose lease ran out neither answers nor settles, and goes on.
func TestLeaseLost(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	proxy := brokertest.StartProxy(t, broker.Addr)
	far := redis.NewClient(&redis.Options{Addr: proxy.Addr})
	t.Cleanup(func() { _ = far.Close() })
	var log servicetest.LogBook
	opts := leased()
	opts.Lease = steadyLease // the longer one counts between the two
	opts.Logger = log.Logger()
	slow := servicetest.NewSlow()
	silent := serveWith(t, far, opts, &jsonrpc2.ServerOptions{Logger: log.Logger()}, slow)
	push(t, rdb, wait(7, "there"))
	slow.RequireRunning(t, 1)
	proxy.Refuse(true) // the server runs on, unheard

	other := servicetest.NewSlow()
	w := serve(t, rdb, leased(), other)
	other.RequireRunning(t, 1)
	proxy.Refuse(false)
	servicetest.Eventually(t, func() bool { return log.Count("lease was not renewed in time") == 1 })
	slow.Open()
	servicetest.Eventually(t, func() bool { return silent.conn.Stats().LeaseLost == 1 })
	require.Zero(t, rdb.LLen(context.Background(), "there").Val())
	require.Zero(t, silent.conn.Stats().Replies)
	servicetest.Eventually(t, func() bool { return log.Count("reply lost", "lease ran out") > 0 }, &log)

	close(other.Gate)
	require.Contains(t, pop(t, rdb, "there"), `"result":7`)
	w.End(t)
	push(t, rdb, add("later"))
	require.Equal(t, six, pop(t, rdb, "later"))
	silent.End(t)
	requireEmpty(t, rdb)
}

// A replica that lacks the last settlings may become master. Then the requests that these had
// settled are held again, and run again.
func TestSettlingUndone(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	w := serve(t, rdb, leased())
	push(t, rdb, add("there"))
	require.Equal(t, six, pop(t, rdb, "there"))
	gens := generations(t, rdb)
	require.Len(t, gens, 1)
	require.NoError(t, rdb.HSet(ctx, heldKey(gens[0]), "1.1732300000.123", add("again")).Err())
	require.Equal(t, six, pop(t, rdb, "again"))
	servicetest.EventuallyEqual(t, 1, func() int64 { return w.conn.Stats().TakenOver })
	w.End(t)
	requireEmpty(t, rdb)
}

// What becomes of the requests of a server that is gone.
func TestReap(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	require.NoError(t, rdb.HSet(ctx, heldKey("gone"),
		"9.1.2", `{"id":"fresh"}`,
		"10.1.2", ` [ {"id":"batch"},{"id":"2"}]`,
		"s11.1.2", `{"id":"suspect"}`, "ns11.1.2", "2",
		"s12.1.2", `{"id":"poison"}`, "ns12.1.2", "3",
		"13.1.2", `garbage`,
		"14.1.2", `{"attempt":7}`, // a stranger's
		"c15.1.2", ``, // settled, its answer lost
		"last", "9", "next", "16", "moment", "1.2",
	).Err())
	require.NoError(t, rdb.LPush(ctx, queue, "oldest waiting", "newest waiting").Err())

	// A worker without a free place beats, and takes nothing.
	opts := leased()
	opts.MaxAttempts = 3
	opts.Prefetch = 1
	require.NoError(t, rdb.RPush(ctx, queue, `{"jsonrpc":"2.0","id":"first","method":"Slow.Wait"}`).Err())
	slow := servicetest.NewSlow()
	w := serve(t, rdb, opts, slow)
	slow.RequireRunning(t, 1)
	require.NoError(t, rdb.HSet(ctx, workersKey, "gone", "7 200").Err())
	servicetest.Eventually(t, func() bool { return w.conn.Stats().Dead == 1 })
	require.EqualValues(t, 5, w.conn.Stats().TakenOver)
	require.Equal(t, []string{`newest waiting`, `oldest waiting`}, rdb.LRange(ctx, queue, 0, -1).Val())
	require.Equal(t, []string{
		`1 {"id":"fresh"}`,
		`1  [ {"id":"batch"},{"id":"2"}]`,
		`2 {"id":"suspect"}`,
		`1 garbage`,
		`1 {"attempt":7}`,
	}, rdb.LRange(ctx, suspectsKey, 0, -1).Val())
	require.Zero(t, rdb.Exists(ctx, heldKey("gone")).Val())
	require.NotContains(t, generations(t, rdb), "gone")

	dead, err := redisconn.NewDeadList(rdb, queue).List(ctx, -1)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	require.Equal(t, `{"id":"poison"}`, string(dead[0].Request))
	require.Equal(t, 3, dead[0].Attempts)
	slow.Open()
}

// A request that kills its servers is given up, and nothing that ran beside it.
func TestPoison(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	opts := leased()
	opts.MaxAttempts = 3
	innocent := func(i int) string { return add(fmt.Sprintf("innocent-%d", i)) }
	poison := `{"jsonrpc":"2.0","id":"poison","method":"Slow.Wait","deadline_ms":1}`
	push(t, rdb, poison, innocent(1), innocent(2))

	d := listenDying(t, broker, opts)
	for range 3 { // they run at the same time
		d.read(t)
	}
	d.die(t)
	for attempt := 2; attempt <= 3; attempt++ {
		d := listenDying(t, broker, opts)
		request := d.read(t)
		for attempt == 3 && !strings.Contains(string(request.Body), `"id":"poison"`) { // it is the last by now
			require.NoError(t, request.Reply([]byte(six)))
			request = d.read(t)
		}
		require.Contains(t, string(request.Body), `"id":"poison"`, "suspects are run one at a time, oldest first")
		d.die(t)
	}

	w := serve(t, rdb, opts)
	for i := 1; i <= 2; i++ {
		require.Equal(t, six, pop(t, rdb, fmt.Sprintf("innocent-%d", i)))
	}
	var answer struct {
		ID    string
		Error jsonrpc2.Error
	}
	require.NoError(t, json.Unmarshal([]byte(pop(t, rdb, "poison")), &answer))
	require.Equal(t, "poison", answer.ID)
	require.EqualValues(t, jsonrpc2.CodeServer, answer.Error.Code)
	require.Contains(t, answer.Error.Message, "3 times")

	list := redisconn.NewDeadList(rdb, queue)
	dead, err := list.List(ctx, 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	require.Equal(t, poison, string(dead[0].Request))
	require.Equal(t, 3, dead[0].Attempts)
	require.Contains(t, dead[0].Reason, "died")
	require.WithinDuration(t, time.Now(), dead[0].Time, time.Minute)

	w.End(t)
	moved, err := list.Requeue(ctx, dead[0])
	require.NoError(t, err)
	require.Equal(t, 1, moved)
	require.JSONEq(t, `{"jsonrpc":"2.0","id":"poison","method":"Slow.Wait"}`, pop(t, rdb, queue))
	requireOnlyServers(t, rdb) // that died
}

// The answer to a move, to a take or to a settling may get lost: the request is not,
// and is answered once.
func TestLeaseAnswersLost(t *testing.T) {
	t.Parallel()
	for name, command := range map[string]string{"move": "blmove", "take": "1048576", "settling": "there"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			rdb := broker.Client(t)
			slow := servicetest.NewSlow()
			slow.Open()
			proxy := brokertest.StartProxy(t, broker.Addr)
			opts := &redisconn.ListenOptions{Guarantee: jsonrpc2.AtLeastOnce, Prefetch: 1, Logger: servicetest.Quiet}
			w := serve(t, through(t, proxy), opts, slow)
			push(t, rdb, add("before"))
			pop(t, rdb, "before")
			const rounds = 5
			for range rounds {
				proxy.DropReply([]byte(command))
				push(t, rdb, waits(3, "there")...)
				for range 3 {
					require.Contains(t, pop(t, rdb, "there"), `"result"`)
				}
			}
			servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies == 3*rounds+1 })
			require.EqualValues(t, 3*rounds, slow.Ran.Load())
			require.Zero(t, w.conn.Stats().LeaseLost)
			w.End(t)
			requireEmpty(t, rdb)
		})
	}
}

// A Redis that is out of memory takes no more requests, and those that wait are
// served.
func TestLeaseOutOfMemory(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	slow := servicetest.NewSlow()
	push(t, rdb, waits(3, "there")...)
	opts := leased()
	opts.Prefetch = 1
	w := serve(t, rdb, opts, slow)
	slow.RequireRunning(t, 1)
	require.NoError(t, rdb.ConfigSet(context.Background(), "maxmemory", "1").Err())
	slow.Open()
	for range 3 {
		require.Contains(t, pop(t, rdb, "there"), `"result"`)
	}
	w.End(t)
	requireEmpty(t, rdb)
}

// A drain gives everything back in its order, also without memory.
func TestLeaseDrain(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	ctx, drain := context.WithCancel(context.Background())
	conn := opened(t, mustListen(t, rdb, queue, &redisconn.ListenOptions{Guarantee: jsonrpc2.AtLeastOnce, Logger: servicetest.Quiet}))
	requests := waits(5, "there")
	push(t, rdb, requests...)
	first, err := conn.ReadRequest(ctx)
	require.NoError(t, err)
	require.Equal(t, requests[0], string(first.Body))
	requireLen(t, rdb, queue, 0)
	require.NoError(t, rdb.ConfigSet(ctx, "maxmemory", "1").Err())
	drain()
	requireLen(t, rdb, queue, 4)
	require.Equal(t, requests[1:], waiting(t, rdb))
	require.NoError(t, first.Reply([]byte(`{"id":"1"}`)))
	require.NoError(t, conn.Close())
	require.Equal(t, `{"id":"1"}`, pop(t, rdb, "there"))
	require.NoError(t, rdb.Del(context.Background(), queue).Err())
	requireEmpty(t, rdb)
}

// What is not answered when a Conn is closed is taken over.
func TestLeaseCloseWithoutAnswer(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	conn := opened(t, mustListen(t, rdb, queue, leased()))
	push(t, rdb, add("there"))
	request, err := conn.ReadRequest(context.Background())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Error(t, request.Reply([]byte(`{}`)))
	w := serve(t, rdb, leased())
	require.Equal(t, six, pop(t, rdb, "there"))
	w.End(t)
	requireEmpty(t, rdb)
}

// Servers with leases and without share a queue, and clients notice nothing.
func TestLeaseShared(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	with, without := serve(t, rdb, leased()), serve(t, rdb, nil)
	c := dial(t, rdb, nil, 0)
	servicetest.Eventually(t, func() bool {
		servicetest.RequireCalls(t, c.Client, 10)
		return with.conn.Stats().Requests > 0 && without.conn.Stats().Requests > 0
	})
	with.End(t)
	servicetest.RequireCalls(t, c.Client, 10)
	without.End(t)
	c.end(t)
	requireEmpty(t, rdb)
}

// The own keys lie in the queue's slot, also where it has a hash tag.
func TestLeaseHashTag(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	conn := opened(t, mustListen(t, rdb, "a{b}c", leased()))
	require.NoError(t, rdb.LPush(ctx, "a{b}c", add("there")).Err())
	request, err := conn.ReadRequest(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 1, rdb.Exists(ctx, "a{b}c:workers").Val())
	require.NoError(t, request.Reply(nil))
	require.NoError(t, conn.Close())
	requireEmpty(t, rdb)
}

// Old brokers and clients of other kinds are refused at once.
func TestLeaseRefused(t *testing.T) {
	t.Parallel()
	broker := miniredis.RunT(t) // which knows no flags of scripts, as Redis before 7.0
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr()})
	defer rdb.Close()
	ring := redis.NewRing(&redis.RingOptions{})
	defer ring.Close()
	for _, test := range []struct {
		name string
		rdb  redis.UniversalClient
		opts redisconn.ListenOptions
		want string
	}{
		{name: "old Redis", rdb: rdb, want: "needs Redis 7.0"},
		{name: "ring", rdb: ring, want: "*redis.Ring"},
		{name: "short lease", rdb: rdb, opts: redisconn.ListenOptions{Lease: time.Millisecond}, want: "less than 100ms"},
		{name: "negative attempts", rdb: rdb, opts: redisconn.ListenOptions{MaxAttempts: -1}, want: "MaxAttempts is -1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.opts.Guarantee, test.opts.Logger = jsonrpc2.AtLeastOnce, servicetest.Quiet
			conn, err := redisconn.Listen(test.rdb, queue, &test.opts)
			if err == nil { // only Redis itself tells
				err = jsonrpc2.Serve(context.Background(), nil, conn, nil)
			}
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, queue)
		})
	}
}

// On a Cluster the answers lie on other nodes than the requests.
func TestLeaseOnCluster(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartRedisCluster(t, 3, 0)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
	t.Cleanup(func() { _ = rdb.Close() })
	w := serve(t, rdb, leased())
	c := dial(t, rdb, nil, 0)
	servicetest.RequireCalls(t, c.Client, 100)
	push(t, rdb, add("1"), add("2"), add("3"), add("4"), `{"jsonrpc":"2.0","method":"add"}`, `garbage`)
	for _, list := range []string{"1", "2", "3", "4"} {
		require.Equal(t, six, pop(t, rdb, list))
	}
	c.end(t)
	w.End(t)
	requireClusterEmpty(t, rdb)
}

// When Redis forgets a lease that had not run out, as after a restart without its
// data, the log says so. Formerly the log said that the lease had run out, and that others may run
// the requests.
func TestLeaseForgotten(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	var log servicetest.LogBook
	serve(t, rdb, &redisconn.ListenOptions{Guarantee: jsonrpc2.AtLeastOnce, Lease: time.Minute, Logger: log.Logger()})
	push(t, rdb, add("before"))
	require.Equal(t, six, pop(t, rdb, "before"))
	broker.Restart()
	servicetest.Eventually(t, func() bool {
		return log.Count("Redis does not know the lease, which had not run out", "lease=1m0s", "queue=calc") == 1
	}, &log)
	require.Zero(t, log.Count("not renewed in time"), &log)
}
