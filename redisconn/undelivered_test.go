package redisconn_test

import (
	"context"
	"fmt"
	"slices"
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

// Double is a service whose answers are as long as what it is sent, or twice.
type Double struct{}

// Text returns what it is given.
func (Double) Text(text string, reply *string) error {
	*reply = text
	return nil
}

// echo is a call of Double with 600 kB that become 1.2 MB when they are escaped.
func echo(list string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"big","reply_to":%q,"method":"Double.Text","params":["%s"]}`,
		list, strings.Repeat("\u2028", 200_000))
}

// An answer that can't be delivered holds up no other: whatever is wrong with its
// list, or with itself, the calls of others are answered meanwhile as if it were
// not there. Formerly they waited for up to five seconds, or until it expired.
func TestUndeliverableAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name    string
		args    []string // of redis-server
		rules   []string // of the server's user
		request string
		list    string
		answer  string // what comes on the list
		stats   redisconn.ServerStats
		log     string
	}{
		{name: "no right to scripts", rules: []string{"-@scripting"}, request: add("stranger"), list: "stranger", answer: six},
		{name: "no right to EVAL", rules: []string{"-eval", "-evalsha"}, request: add("stranger"), list: "stranger", answer: six},
		{name: "no right to what the script does", rules: []string{"-pttl", "-pexpire"}, request: add("stranger"), list: "stranger", answer: six},
		{name: "no right to scripts and to look", rules: []string{"-@scripting", "-pttl"}, request: add("stranger"), list: "stranger", answer: six},
		{name: "a key that is forbidden", rules: []string{"resetkeys", "~calc", "~{calc}:*", "~jsonrpc2:reply:*"},
			request: add("stranger"), stats: redisconn.ServerStats{Undelivered: 1}, log: "NOPERM"},
		{name: "another type", request: add("string"), stats: redisconn.ServerStats{Undelivered: 1}, log: "WRONGTYPE"},
		{name: "over the broker's limit", args: []string{"--proto-max-bulk-len", "1mb"}, request: echo("stranger"),
			list: "stranger", answer: "can't be delivered", stats: redisconn.ServerStats{Undelivered: 1}, log: "can't be delivered"},
		{name: "over the limit on a reply list", args: []string{"--proto-max-bulk-len", "1mb"}, request: echo("jsonrpc2:reply:x"),
			list: "jsonrpc2:reply:x", answer: "can't be delivered", stats: redisconn.ServerStats{Undelivered: 1}, log: "can't be delivered"},
	} {
		for _, atLeastOnce := range []bool{false, true} {
			if atLeastOnce && (strings.Contains(test.name, "right")) {
				continue // at least once is nothing without scripts
			}
			t.Run(fmt.Sprintf("%s, at least once %v", test.name, atLeastOnce), func(t *testing.T) {
				t.Parallel()
				broker := brokertest.StartRedis(t, test.args...)
				admin := broker.Client(t)
				require.NoError(t, admin.Set(context.Background(), "string", "kept", 0).Err())
				var log servicetest.LogBook
				w := serveWith(t, restricted(t, broker, admin, test.rules...),
					&redisconn.ListenOptions{Guarantee: guarantee(atLeastOnce), Logger: log.Logger()},
					&jsonrpc2.ServerOptions{Logger: log.Logger()}, Double{})
				others := startOthers(t, admin, nil)
				times := 3
				if len(test.request) > 100_000 {
					times = 1 // to scan it is work for the machine, not for the broker
				}
				for range times {
					push(t, admin, test.request)
				}
				if test.list != "" {
					for range times {
						require.Contains(t, pop(t, admin, test.list), test.answer)
					}
				}
				servicetest.Eventually(t, func() bool { return w.conn.Stats().Undelivered == int64(times)*test.stats.Undelivered }, &log)
				others.requireQuick(t)
				if test.log != "" {
					servicetest.Eventually(t, func() bool { return log.Count(test.log) > 0 }, &log)
				}
				require.Equal(t, "kept", admin.Get(context.Background(), "string").Val())
				w.End(t)
			})
		}
	}
}

// Others are callers whose calls are answered at full speed.
type others struct {
	stop    chan struct{}
	calling sync.WaitGroup

	mu   sync.Mutex
	took []time.Duration
	err  error
}

// startOthers starts four callers.
func startOthers(t *testing.T, rdb redis.UniversalClient, opts *redisconn.DialOptions) *others {
	o := &others{stop: make(chan struct{})}
	c := dial(t, rdb, opts, 0)
	for range 4 {
		o.calling.Go(func() { o.call(c) })
	}
	return o
}

func (o *others) call(c caller) {
	for {
		begin := time.Now()
		_, err := c.add(1, 5.1)
		o.mu.Lock()
		o.took = append(o.took, time.Since(begin))
		if err != nil {
			o.err = err
		}
		o.mu.Unlock()
		select {
		case <-o.stop:
			return
		default:
		}
	}
}

// requireQuick lets the callers make some calls more, and requires that none
// waited for a backoff, or for an answer to expire.
func (o *others) requireQuick(t *testing.T) {
	t.Helper()
	n := o.calls()
	servicetest.Eventually(t, func() bool { return o.calls() > n+100 })
	close(o.stop)
	o.calling.Wait()
	require.NoError(t, o.err)
	slices.Sort(o.took)
	t.Logf("%d calls, the slowest %v", len(o.took), o.took[len(o.took)-1])
	require.Less(t, o.took[len(o.took)-1], 3*time.Second)
}

func (o *others) calls() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.took)
}

// The answers to a node of a Cluster that is dead, or does not answer, hold up none
// to the other nodes, and are delivered when it is back. Formerly the answers to all nodes
// waited.
func TestDeadNode(t *testing.T) {
	t.Parallel()
	start, wait := together(t)
	defer wait()
	for name, test := range map[string]struct{ begin, end func(*brokertest.Redis) }{
		"killed":    {(*brokertest.Redis).Kill, (*brokertest.Redis).Start},
		"suspended": {(*brokertest.Redis).Stop, (*brokertest.Redis).Cont},
	} {
		start(name, func(t *testing.T) {
			cluster := brokertest.StartRedisCluster(t, 3, 0)
			ctx := context.Background()
			for _, node := range cluster.Nodes {
				require.NoError(t, node.Client(t).ConfigSet(ctx, "cluster-require-full-coverage", "no").Err())
			}
			connect := func() *redis.ClusterClient {
				rdb := redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
				t.Cleanup(func() { _ = rdb.Close() })
				return rdb
			}
			rdb := connect()
			nodeOf := func(list string) string {
				node, err := rdb.MasterForKey(ctx, list)
				require.NoError(t, err)
				return node.Options().Addr
			}
			alive, dead := nodeOf(queue), ""
			var lists []string // on the node that dies
			for i := 0; len(lists) < 100; i++ {
				list := fmt.Sprint("list", i)
				if node := nodeOf(list); node != alive && (dead == "" || node == dead) {
					dead = node
					lists = append(lists, list)
				}
			}
			w := serve(t, rdb, &redisconn.ListenOptions{ReplyTTL: time.Minute, Logger: servicetest.Quiet})
			push(t, rdb, add(lists[0]))
			require.Equal(t, six, pop(t, rdb, lists[0]))

			node := cluster.Nodes[slices.Index(cluster.Addrs, dead)]
			others := startOthers(t, connect(), &redisconn.DialOptions{ReplyPrefix: "jsonrpc2:reply:{calc}:", Logger: servicetest.Quiet})
			servicetest.Eventually(t, func() bool { return others.calls() > 10 })
			test.begin(node)
			for _, list := range lists { // more than there are places
				push(t, rdb, add(list))
			}
			others.requireQuick(t)
			test.end(node)
			client := node.Client(t)
			servicetest.Eventually(t, func() bool { return client.LLen(ctx, lists[0]).Err() == nil })
			for _, list := range lists {
				require.Equal(t, six, pop(t, client, list))
			}
			servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies > 200 })
			require.Zero(t, w.conn.Stats().Undelivered)
		})
	}
}

// When the broker is back after a fault that is not a list's, all that waited goes
// out: also what was large, and what is not known to have arrived.
func TestAllGoesWhenTheBrokerIsBack(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		begin, end func(*testing.T, *brokertest.Redis, *brokertest.Proxy)
	}{
		"out of memory": {
			func(t *testing.T, b *brokertest.Redis, _ *brokertest.Proxy) {
				require.NoError(t, b.Client(t).ConfigSet(context.Background(), "maxmemory", "1").Err())
			},
			func(t *testing.T, b *brokertest.Redis, _ *brokertest.Proxy) {
				require.NoError(t, b.Client(t).ConfigSet(context.Background(), "maxmemory", "0").Err())
			},
		},
		"refused":   {func(_ *testing.T, _ *brokertest.Redis, p *brokertest.Proxy) { p.Refuse(true) }, func(_ *testing.T, _ *brokertest.Redis, p *brokertest.Proxy) { p.Refuse(false) }},
		"suspended": {func(_ *testing.T, b *brokertest.Redis, _ *brokertest.Proxy) { b.Stop() }, func(_ *testing.T, b *brokertest.Redis, _ *brokertest.Proxy) { b.Cont() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			proxy := brokertest.StartProxy(t, broker.Addr)
			rdb := redis.NewClient(&redis.Options{Addr: proxy.Addr})
			t.Cleanup(func() { _ = rdb.Close() })
			slow, admin := servicetest.NewSlow(), broker.Client(t)
			w := serve(t, rdb, nil, slow)
			const n = 30
			for i := range n {
				push(t, admin, wait(i, fmt.Sprint("list", i)))
			}
			slow.RequireRunning(t, n)
			test.begin(t, broker, proxy)
			slow.Open()
			servicetest.Eventually(t, func() bool { return slow.Ran.Load() == n })
			test.end(t, broker, proxy)
			for i := range n {
				require.Contains(t, pop(t, admin, fmt.Sprint("list", i)), fmt.Sprintf(`"result":%d`, i))
			}
			servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies == n })
			require.Zero(t, w.conn.Stats().Undelivered)
		})
	}
}

// A request over the broker's own limit fails alone, at once. Formerly it failed those
// that were pushed along with it.
func TestRequestOverTheLimit(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t, "--proto-max-bulk-len", "1mb")
			rdb := broker.Client(t)
			serve(t, rdb, nil)
			others := startOthers(t, rdb, &opts)
			c := dial(t, rdb, &opts, 0)
			large := strings.Repeat("x", 2<<20)
			for range 5 {
				_, err := jsonrpc2.Call[string](context.Background(), c.Client, "Double.Text", large)
				requireUnavailable(t, err)
				require.ErrorContains(t, err, "bytes")
			}
			others.requireQuick(t)
			c.requireAdds(t)
		})
	}
}

// Close ends in the time that its documentation gives, also where Redis keeps its
// connections and answers nothing.
func TestCloseOfASuspendedRedis(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	slow := servicetest.NewSlow()
	w := serve(t, rdb, nil, slow)
	c := dial(t, rdb, nil, 0)
	c.requireAdds(t)
	push(t, rdb, wait(1, "there"))
	slow.RequireRunning(t, 1)
	broker.Stop()
	slow.Open()
	var ended sync.WaitGroup
	begin := time.Now()
	ended.Go(func() { _ = c.Close() })
	ended.Go(func() { w.Drain(); <-w.Done })
	ended.Wait()
	t.Logf("closed after %v", time.Since(begin))
	require.Less(t, time.Since(begin), 21*time.Second+promptly)
	require.ErrorContains(t, w.Err, "messages not known to be sent when closed: 1")
	w.Err = nil // for the cleanup
	broker.Cont()
}
