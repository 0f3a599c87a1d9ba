package redisconn_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A fault is one that a broker has for a while.
type fault struct {
	name       string
	args       func(t *testing.T) []string // of redis-server, may be nil
	begin, end func(f *faulty)
	text       string // what Redis, or the network, says
	pops       bool   // pops work meanwhile
}

// A faulty is a broker with a fault, and both ends of a queue on it.
type faulty struct {
	*testing.T
	broker *brokertest.Redis
	admin  *redis.Client // one connection, spared by the fault

	server, client servicetest.LogBook
	worker         *worker
	caller         caller
}

func (f *faulty) do(args ...any) {
	f.Helper()
	require.NoError(f, f.admin.Do(context.Background(), args...).Err())
}

func (f *faulty) setUser(rules ...string) { setUser(f.T, f.admin, rules...) }

var faults = []fault{
	{
		name:  "killed",
		begin: func(f *faulty) { f.broker.Kill() },
		end:   func(f *faulty) { f.broker.Start(); f.setUser("on", ">secret", "~*", "&*", "+@all") },
		text:  "connection refused",
	},
	{
		name:  "READONLY",
		begin: func(f *faulty) { f.do("replicaof", "127.0.0.1", "1") },
		end:   func(f *faulty) { f.do("replicaof", "no", "one") },
		text:  "READONLY",
	},
	{
		name:  "NOAUTH",
		begin: func(f *faulty) { f.setUser("off"); f.do("client", "kill", "user", "app") },
		end:   func(f *faulty) { f.setUser("on") },
		text:  "WRONGPASS",
	},
	{
		name:  "NOPERM for commands",
		begin: func(f *faulty) { f.setUser("-@all") },
		end:   func(f *faulty) { f.setUser("+@all") },
		text:  "NOPERM",
	},
	{
		name:  "NOPERM for keys",
		begin: func(f *faulty) { f.setUser("resetkeys") },
		end:   func(f *faulty) { f.setUser("~*") },
		text:  "NOPERM",
	},
	{
		name: "MISCONF",
		args: func(t *testing.T) []string {
			dir := filepath.Join(t.TempDir(), "data")
			require.NoError(t, os.Mkdir(dir, 0o700))
			return []string{"--dir", dir, "--enable-protected-configs", "yes"}
		},
		begin: func(f *faulty) {
			dir := f.admin.ConfigGet(context.Background(), "dir").Val()["dir"]
			require.NoError(f, os.Remove(dir))
			f.do("config", "set", "save", "3600 1")
			f.do("bgsave")
			servicetest.Eventually(f.T, func() bool {
				return strings.Contains(f.admin.Info(context.Background(), "persistence").Val(), "rdb_last_bgsave_status:err")
			})
		},
		end:  func(f *faulty) { f.do("config", "set", "save", "") },
		text: "MISCONF",
	},
	{
		name: "LOADING",
		args: func(*testing.T) []string {
			return []string{"--enable-debug-command", "yes", "--loading-process-events-interval-bytes", "1024"}
		},
		begin: func(f *faulty) {
			f.do("debug", "populate", 20_000)
			f.do("config", "set", "key-load-delay", 2000)                                                                    // microseconds: it takes 40 s, unless the fault ends
			reloading := redis.NewClient(&redis.Options{Addr: f.broker.Addr, ReadTimeout: servicetest.Soon, MaxRetries: -1}) // once
			f.Cleanup(func() { _ = reloading.Close() })
			go reloading.Do(context.Background(), "debug", "reload")
			servicetest.Eventually(f.T, func() bool {
				return strings.Contains(f.admin.Info(context.Background(), "persistence").Val(), "loading:1")
			})
			f.do("client", "kill", "user", "app")
		},
		end:  func(f *faulty) { f.do("config", "set", "key-load-delay", 0) },
		text: "LOADING",
	},
	{
		name:  "WRONGTYPE",
		begin: func(f *faulty) { f.do("set", queue, "in the way") },
		end:   func(f *faulty) { f.do("del", queue) },
		text:  "WRONGTYPE",
	},
	{
		name:  "out of memory",
		begin: func(f *faulty) { f.do("config", "set", "maxmemory", 1) },
		end:   func(f *faulty) { f.do("config", "set", "maxmemory", 0) },
		text:  "OOM",
		pops:  true,
	},
}

// While a fault lasts calls fail in time, the broker is not flooded, and one
// line is logged. When it is over the same objects work on.
func TestFaults(t *testing.T) {
	t.Parallel()
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, fault := range faults {
		run := func(t *testing.T) {
			f := newFaulty(t, fault)
			f.caller.requireAdds(t)
			fault.begin(f)
			servicetest.Eventually(t, func() bool { return fault.pops || f.server.Count(impaired) > 0 })
			begin := time.Now()
			_, err := f.caller.add(1, 5.1)
			took := time.Since(begin)
			requireUnavailable(t, err)
			require.ErrorContains(t, err, fault.text)
			require.Less(t, took, promptly)
			if fault.name != "killed" {
				f.requireNoFlood()
			}
			fault.end(f)
			servicetest.Eventually(t, func() bool { _, err := f.caller.add(1, 5.1); return err == nil })
			f.requireOneLine(&f.client, func() int64 { return f.caller.conn.Stats().Reconnects })
			if fault.pops {
				require.Zero(t, f.server.Count(""), &f.server)
			} else {
				f.requireOneLine(&f.server, func() int64 { return f.worker.conn.Stats().Reconnects })
			}
			t.Logf("the call failed after %v", took.Round(time.Millisecond))
		}
		wg.Go(func() { t.Run(fault.name, run) }) // all at once, since they wait most of the time
	}
}

const impaired = `msg="connection impaired, trying again"`

func newFaulty(t *testing.T, fault fault) *faulty {
	var args []string
	if fault.args != nil {
		args = fault.args(t)
	}
	f := &faulty{T: t, broker: brokertest.StartRedis(t, args...)}
	f.admin = redis.NewClient(&redis.Options{Addr: f.broker.Addr, PoolSize: 1})
	t.Cleanup(func() { _ = f.admin.Close() })
	rdb := restricted(t, f.broker, f.admin)
	f.worker = serve(t, rdb, &redisconn.ListenOptions{Logger: f.server.Logger()})
	// An announcement that a fault refuses before it is known would be logged besides.
	servicetest.Eventually(t, func() bool { return f.admin.ZCard(context.Background(), serversKey).Val() == 1 })
	f.caller = dial(t, rdb, &redisconn.DialOptions{Logger: f.client.Logger()}, 0)
	return f
}

// requireNoFlood requires that both ends together send a few commands a second
// only. With READONLY go-redis makes a connection for each, which is four more.
func (f *faulty) requireNoFlood() {
	f.Helper()
	f.do("config", "resetstat")
	commands := func() int {
		stats := f.admin.Info(context.Background(), "stats").Val()
		return numberAfter(stats, "total_commands_processed:") + numberAfter(stats, "total_error_replies:")
	}
	asked := 0
	require.Never(f, func() bool { asked++; return commands()-asked > 120 }, time.Second, 50*time.Millisecond)
}

// requireOneLine requires one line for the begin of a fault and one for its end, besides those for
// causes that came later, and for the announcement, if a busy machine makes the fault last until
// that is due.
func (f *faulty) requireOneLine(log *servicetest.LogBook, reconnects func() int64) {
	f.Helper()
	servicetest.Eventually(f.T, func() bool { return log.Count(`msg="connection works again"`) == 1 }, log)
	require.Equal(f, 1, log.Count(impaired), log)
	require.Equal(f, 1, log.Count(impaired, "level=ERROR", "conn=redis", "queue=calc", "while=", "error="), log)
	require.Equal(f, 2, log.Count("")-log.Count(`msg="connection impaired by another cause"`)-log.Count("announce itself"), log)
	require.EqualValues(f, 1, reconnects())
}

// A failover answers a blocked pop with an error, once.
func TestUnblocked(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, fault{})
	requireBlocked(t, f.admin, 2)
	for _, line := range strings.Split(strings.TrimSpace(f.admin.ClientList(context.Background()).Val()), "\n") {
		if strings.Contains(line, "cmd=blmpop") {
			id, _, _ := strings.Cut(strings.TrimPrefix(line, "id="), " ")
			f.do("client", "unblock", id, "error")
		}
	}
	f.caller.requireAdds(t)
	f.requireOneLine(&f.client, func() int64 { return f.caller.conn.Stats().Reconnects })
	f.requireOneLine(&f.server, func() int64 { return f.worker.conn.Stats().Reconnects })
	require.Equal(t, 1, f.client.Count("UNBLOCKED"))
	require.Equal(t, 1, f.server.Count("UNBLOCKED"))
}

// If the right to BLMPOP is missing for a while, BLMPOP is used again afterwards.
func TestBLMPOPAllowedAgain(t *testing.T) {
	t.Parallel()
	f := newFaulty(t, fault{})
	f.caller.requireAdds(t)
	f.setUser("-@all")
	f.do("client", "kill", "user", "app") // or the pops under way would go on
	servicetest.Eventually(t, func() bool { return f.server.Count(impaired) > 0 && f.client.Count(impaired) > 0 })
	// An end that is between BLMPOP and its substitute now must not find the substitute allowed.
	f.setUser("+@all", "-brpop", "-blpop")
	servicetest.Eventually(t, func() bool { _, err := f.caller.add(1, 2); return err == nil })
	f.do("config", "resetstat")
	f.caller.requireAdds(t)
	f.caller.requireAdds(t)
	require.NotZero(t, commandCalls(f.admin, "blmpop"))
	require.Zero(t, commandCalls(f.admin, "brpop"))
}

// An answer that can't be sent for a while is sent later. Calls that wait for their answers go on
// waiting.
func TestAnswersWait(t *testing.T) {
	t.Parallel()
	slow := servicetest.NewSlow()
	broker := brokertest.StartRedis(t)
	admin := broker.Client(t)
	w := serve(t, broker.Client(t), nil, slow)
	c := dial(t, broker.Client(t), nil, 0)
	result := make(chan error)
	go func() {
		n, err := jsonrpc2.Call[int](context.Background(), c.Client, "Slow.Wait", []int{7})
		if err == nil && n != 7 {
			err = errors.New("wrong answer")
		}
		result <- err
	}()
	slow.RequireRunning(t, 1)
	require.NoError(t, admin.ConfigSet(context.Background(), "maxmemory", "1").Err())
	slow.Open()
	servicetest.Eventually(t, func() bool { return slow.Ran.Load() == 1 })
	require.Zero(t, w.conn.Stats().Replies)
	require.NoError(t, admin.ConfigSet(context.Background(), "maxmemory", "0").Err())
	require.NoError(t, <-result)
	servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies == 1 })
}

// An answer that could not be sent within ReplyTTL is given up and logged, and its place is free.
func TestAnswersExpire(t *testing.T) {
	t.Parallel()
	slow := servicetest.NewSlow()
	rdb := brokertest.StartRedis(t).Client(t)
	var log servicetest.LogBook
	w := serveWith(t, rdb, &redisconn.ListenOptions{ReplyTTL: time.Second, Prefetch: 1, Logger: servicetest.Quiet},
		&jsonrpc2.ServerOptions{Logger: log.Logger()}, slow)
	push(t, rdb, wait(1, "there"), add("after"))
	slow.RequireRunning(t, 1)
	require.NoError(t, rdb.ConfigSet(context.Background(), "maxmemory", "1").Err())
	slow.Open()
	// Both: while one is tried, a later answer waits behind the other, and may expire, too.
	servicetest.Eventually(t, func() bool { return w.conn.Stats().Expired == 2 })
	servicetest.Eventually(t, func() bool { return log.Count("not delivered within 1s") > 0 })
	require.NoError(t, rdb.ConfigSet(context.Background(), "maxmemory", "0").Err())
	for n := int64(3); w.conn.Stats().Replies == 0; n++ { // a machine that stalls may let one more expire
		require.Less(t, n, int64(23))
		push(t, rdb, add("later"))
		servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies+w.conn.Stats().Expired == n })
	}
	require.Equal(t, six, pop(t, rdb, "later"))
}
