package redisconn_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A request with blanks in front is given up as any other. Formerly a request with more than 52
// blanks was never given up: it killed each server that took it.
func TestPoisonBehindBlanks(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	opts := leased()
	opts.MaxAttempts = 2
	poison := strings.Repeat(" \n", 100) + wait(1, "there")
	push(t, rdb, poison)
	for range opts.MaxAttempts {
		d := listenDying(t, broker, opts)
		require.Equal(t, poison, string(d.read(t).Body))
		d.die(t)
	}
	slow := servicetest.NewSlow()
	slow.Open()
	serve(t, rdb, opts, slow)
	require.Contains(t, pop(t, rdb, "there"), "2 times")
	require.Zero(t, slow.Ran.Load())
	dead, err := redisconn.NewDeadList(rdb, queue).List(t.Context(), -1)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	require.Equal(t, poison, string(dead[0].Request))
}

// A server that goes silent while it waits for requests takes none with it, however
// short the lease. Formerly the next request went to a list at which nobody looked again.
func TestSilentWhileWaiting(t *testing.T) {
	t.Parallel()
	for _, lease := range []time.Duration{100 * time.Millisecond, time.Second} {
		for name, fault := range map[string]func(*brokertest.Proxy){
			"black hole":          func(p *brokertest.Proxy) { p.BlackHole(true) },
			"black hole, killed":  func(p *brokertest.Proxy) { p.BlackHole(true); p.Refuse(true) },
			"killed all the same": func(p *brokertest.Proxy) { p.Refuse(true) },
		} {
			t.Run(fmt.Sprint(name, " ", lease), func(t *testing.T) {
				t.Parallel()
				broker := brokertest.StartRedis(t)
				rdb := broker.Client(t)
				proxy := brokertest.StartProxy(t, broker.Addr)
				opts := leased()
				opts.Lease = lease
				for range 3 {
					silent := serve(t, through(t, proxy), opts)
					requireBlocked(t, rdb, 1)
					fault(proxy)
					w := serve(t, rdb, opts)
					servicetest.Eventually(t, func() bool { return len(generations(t, rdb)) == 1 })
					for range 3 {
						push(t, rdb, add("there"))
						require.Equal(t, six, pop(t, rdb, "there"))
					}
					proxy.BlackHole(false)
					proxy.Refuse(false)
					silent.End(t)
					w.End(t)
					requireEmpty(t, rdb)
				}
			})
		}
	}
}

// A muteConn is a connection that a router may forget.
type muteConn struct {
	net.Conn
	mute *muter
}

// A muter forgets the connection on which a server waits for requests.
type muter struct {
	mu      sync.Mutex
	waiting *muteConn
	mutes   bool
}

// client returns a client whose connection is forgotten when it waits.
func (m *muter) client(t *testing.T, broker *brokertest.Redis) *redis.Client {
	rdb := redis.NewClient(&redis.Options{
		Addr: broker.Addr,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			return &muteConn{conn, m}, err
		},
	})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

func (m *muter) set(mutes bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mutes = mutes
}

func (m *muter) isMute(c *muteConn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mutes && m.waiting == c
}

func (c *muteConn) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("blmove")) {
		c.mute.mu.Lock()
		c.mute.waiting = c
		c.mute.mu.Unlock()
	}
	return c.Conn.Write(b)
}

// Read drops what comes in while the connection is forgotten.
func (c *muteConn) Read(b []byte) (int, error) {
	for {
		n, err := c.Conn.Read(b)
		if err != nil || !c.mute.isMute(c) {
			return n, err
		}
	}
}

// A call does not wait for another one when the connection on which its only server
// waits is forgotten by a router. Formerly it did: it lay in a list at which nobody looked.
func TestForgottenConnection(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	var mute muter
	opts := &redisconn.ListenOptions{Guarantee: jsonrpc2.AtLeastOnce, Logger: servicetest.Quiet}
	w := serve(t, mute.client(t, broker), opts)
	for range 3 {
		requireBlocked(t, rdb, 1)
		mute.set(true)
		begin := time.Now()
		push(t, rdb, add("there"))
		require.Equal(t, six, pop(t, rdb, "there"))
		t.Logf("answered after %v", time.Since(begin))
		require.Less(t, time.Since(begin), blockTime)
		mute.set(false)
	}
	w.End(t)
	requireEmpty(t, rdb)
}

// While Redis stalls for longer than the lease, no server counts as silent. Formerly the requests
// of living servers were taken over, and run a second time.
func TestBrokerStalls(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t, "--enable-debug-command", "yes")
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr, ReadTimeout: servicetest.Soon, MaxRetries: -1})
	t.Cleanup(func() { _ = rdb.Close() })
	opts := leased()
	opts.Lease = steadyLease // else a server that a busy machine holds up is silent, and rightly so
	opts.Prefetch = 4
	slow := servicetest.NewSlow()
	var workers []*worker
	for range 3 {
		workers = append(workers, serve(t, broker.Client(t), opts, slow))
	}
	for range 2 {
		push(t, rdb, waits(12, "there")...)
		slow.RequireRunning(t, 12)
		require.NoError(t, rdb.Do(t.Context(), "debug", "sleep", "3.0").Err())
		beats := commandCalls(rdb, "evalsha") // each server hears all of them anew
		servicetest.Eventually(t, func() bool { return commandCalls(rdb, "evalsha") > beats+12 })
		for range 12 {
			slow.Gate <- struct{}{}
		}
		for range 12 {
			require.Contains(t, pop(t, rdb, "there"), `"result"`)
		}
	}
	require.EqualValues(t, 24, slow.Ran.Load())
	for _, w := range workers {
		w.End(t)
		require.Zero(t, w.conn.Stats().TakenOver+w.conn.Stats().LeaseLost)
	}
	requireEmpty(t, rdb)
}

// A member that a stranger writes has no meaning here. Formerly requests with the member "attempt"
// ran one at a time.
func TestStrangersAttempt(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	slow := servicetest.NewSlow()
	w := serve(t, rdb, leased(), slow)
	for i := range 20 {
		push(t, rdb, `{"attempt":4,`+wait(i, "there")[1:])
	}
	slow.RequireRunning(t, 20)
	slow.Open()
	requireLen(t, rdb, "there", 20)
	w.End(t)
}

// What stands for a settled request is never run. Formerly a failover that undid its
// removal had an empty request pushed.
func TestSettledOnClusterIsNotRun(t *testing.T) {
	t.Parallel()
	cluster := brokertest.StartRedisCluster(t, 3, 0)
	rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
	t.Cleanup(func() { _ = rdb.Close() })
	w := serve(t, rdb, leased())
	push(t, rdb, add("1"))
	require.Equal(t, six, pop(t, rdb, "1"))
	gens := generations(t, rdb)
	require.Len(t, gens, 1)
	for gen, row := range map[string]string{gens[0]: "", "gone": "7 100"} {
		require.NoError(t, rdb.HSet(t.Context(), heldKey(gen), "c1.1732300000.123", "").Err())
		if row != "" {
			require.NoError(t, rdb.HSet(t.Context(), workersKey, gen, row).Err())
		}
	}
	servicetest.Eventually(t, func() bool { return len(generations(t, rdb)) == 1 })
	push(t, rdb, add("2"))
	require.Equal(t, six, pop(t, rdb, "2"))
	w.End(t)
	require.EqualValues(t, 2, w.conn.Stats().Requests)
	requireClusterEmpty(t, rdb)
}

// A beginHook fails the commands that run a script, after they ran.
type beginHook struct {
	sha    string
	failed func()
}

func (*beginHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (*beginHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (h *beginHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		err := next(ctx, cmd)
		if err == nil && cmd.Name() == "evalsha" && cmd.Args()[1] == h.sha {
			err = net.ErrClosed
			cmd.SetErr(err)
			h.failed()
		}
		return err
	}
}

// A drain while a suspect is being begun counts no start. Formerly it counted one, though nothing
// had run.
func TestDrainWhileBeginning(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	ctx, drain := context.WithCancel(t.Context())
	far := broker.Client(t)
	text, err := os.ReadFile("internal/hold/lua/begin.lua")
	require.NoError(t, err)
	sha, err := rdb.ScriptLoad(ctx, string(text)).Result()
	require.NoError(t, err)
	var begun atomic.Bool
	far.AddHook(&beginHook{sha: sha, failed: func() { begun.Store(true); drain() }})
	require.NoError(t, rdb.RPush(ctx, suspectsKey, "2 "+add("there")).Err())
	conn := opened(t, mustListen(t, far, queue, leased()))
	_, err = conn.ReadRequest(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, begun.Load())
	require.NoError(t, conn.Close())
	require.Equal(t, []string{"2 " + add("there")}, rdb.LRange(t.Context(), suspectsKey, 0, -1).Val())
}

// A server that finds servers of another layout does not serve, and says so.
func TestOtherLayout(t *testing.T) {
	t.Parallel()
	for name, occupy := range map[string]func(*redis.Client) error{
		"a later one": func(rdb *redis.Client) error { return rdb.HSet(t.Context(), workersKey, "layout", "2").Err() },
		"the first": func(rdb *redis.Client) error {
			return rdb.ZAdd(t.Context(), workersKey, redis.Z{Score: 1, Member: "w"}).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := brokertest.StartRedis(t).Client(t)
			require.NoError(t, occupy(rdb))
			w := serve(t, rdb, leased())
			<-w.Done
			require.ErrorContains(t, w.Err, `queue "calc"`)
			require.ErrorContains(t, w.Err, "this one in layout 1")
			w.Err = nil
		})
	}
}
