package faulttest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// restarts is how often a broker is killed under load.
const restarts = 2

// downtime is how many calls fail before a fault ends.
const downtime = 32

// Requests that wait are lost with the data. None runs twice.
func TestRedisKilledWithoutPersistence(t *testing.T) {
	slow(t)
	t.Parallel()
	testRedisKilled(t, "Redis killed, without persistence", redisconn.ListenOptions{}, allowed{failed: many, lost: many})
}

// With "appendfsync everysec" Redis may answer before it has written. Requests that it handed
// out just before it was killed may then be in the list again.
func TestRedisKilledWithAOF(t *testing.T) {
	t.Parallel()
	allow := allowed{failed: many, lost: many}
	testRedisKilled(t, "Redis killed, with AOF", redisconn.ListenOptions{}, allow, "--appendonly", "yes", "--appendfsync", "always")
}

func testRedisKilled(t *testing.T, name string, listening redisconn.ListenOptions, allow allowed, args ...string) {
	broker := brokertest.StartRedis(t, args...)
	s := newRedisSite(t, broker)
	s.listening = listening
	tr := &trial{name: name, site: s, timeout: 4 * time.Second, allow: allow}
	tr.run(t, func() {
		for range restarts {
			broker.Kill()
			tr.awaitFailed(t, downtime)
			broker.Start()
			tr.awaitAnswered(t, enough)
		}
	})
}

// A snapshot restores requests that servers have taken since, and Redis hands them out again.
// At most once therefore needs a Redis that keeps all of its data, or none.
func TestRedisKilledWithSnapshot(t *testing.T) {
	t.Parallel()
	const calls = 50
	broker := brokertest.StartRedis(t)
	s := newRedisSite(t, broker)
	tr := &trial{name: "Redis killed, an old snapshot restored", site: s, allow: allowed{again: calls}}
	tr.timeout = servicetest.Soon
	tr.note = func(tally) string { return "taken after the snapshot: run again" }
	tr.prepare(t, false)
	tr.callers, tr.limit = calls, calls
	tr.start()
	servicetest.Eventually(t, func() bool { n, err := s.waiting(); return err == nil && n == calls })
	s.do(t, "save")
	tr.server = serve(t, s, tr.ledger, tr.codec)
	servicetest.Eventually(t, func() bool { return tr.answered.Load() == calls })
	broker.Restart()
	tr.finish(t)
	require.Len(t, tr.ledger.runs(t), int(tr.asked.Load()))
}

func TestRedisSuspended(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	tr := &trial{name: "Redis suspended for 5 s", site: newRedisSite(t, broker), allow: allowed{failed: many, lost: many}}
	tr.run(t, func() {
		broker.Stop()
		<-time.After(5 * time.Second)
		broker.Cont()
	})
}

// A request that Redis refuses for want of memory is certainly not sent.
func TestRedisOutOfMemory(t *testing.T) {
	t.Parallel()
	testOutOfMemory(t, "Redis out of memory", redisconn.ListenOptions{}, 5*time.Second)
}

func testOutOfMemory(t *testing.T, name string, listening redisconn.ListenOptions, timeout time.Duration) {
	s := newRedisSite(t, brokertest.StartRedis(t))
	s.listening = listening
	tr := &trial{name: name, site: s, timeout: timeout, allow: allowed{failed: many}}
	tr.run(t, func() {
		s.do(t, "config", "set", "maxmemory", 1)
		tr.awaitFailed(t, 2*downtime)
		s.do(t, "config", "set", "maxmemory", 0)
	})
}

// Redis refuses to write when it can't save: MISCONF.
func TestRedisDiskFull(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	require.NoError(t, os.Mkdir(dir, 0o700))
	s := newRedisSite(t, brokertest.StartRedis(t, "--dir", dir))
	tr := &trial{name: "Redis can't save its data", site: s, timeout: 15 * time.Second, allow: allowed{failed: many}}
	tr.run(t, func() {
		require.NoError(t, os.Remove(dir))
		s.do(t, "config", "set", "save", "3600 1")
		s.do(t, "bgsave")
		servicetest.Eventually(t, func() bool {
			return strings.Contains(s.admin.Info(context.Background(), "persistence").Val(), "rdb_last_bgsave_status:err")
		})
		tr.awaitFailed(t, 2*downtime)
		s.do(t, "config", "set", "save", "")
	})
}

// The requests in a deleted list are lost.
func TestRedisListDeleted(t *testing.T) {
	t.Parallel()
	const times = 5
	s := newRedisSite(t, brokertest.StartRedis(t))
	tr := &trial{name: "Redis list deleted", site: s, allow: allowed{failed: many, lost: times * downtime}}
	tr.codec.MaxInFlight = 2 // so that requests wait
	tr.run(t, func() {
		for range times {
			servicetest.Eventually(t, func() bool { n, err := s.waiting(); return err == nil && n > 10 })
			s.do(t, "del", queue)
		}
	})
}

// If the queue's key is of another type, calls are not sent.
func TestRedisListReplaced(t *testing.T) {
	slow(t)
	t.Parallel()
	s := newRedisSite(t, brokertest.StartRedis(t))
	tr := &trial{name: "Redis list replaced by a string", site: s, timeout: 5 * time.Second, allow: allowed{failed: many, lost: downtime}}
	tr.codec.MaxInFlight = 2
	tr.run(t, func() {
		servicetest.Eventually(t, func() bool { n, err := s.waiting(); return err == nil && n > 10 })
		s.do(t, "set", queue, "in the way")
		tr.awaitFailed(t, 2*downtime)
		s.do(t, "del", queue)
	})
}

// If only the reply to a push is lost, the call waits for its answer and gets it.
func TestRedisPushReplyDropped(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	proxy := brokertest.StartProxy(t, broker.Addr)
	s := newRedisSite(t, broker)
	s.connect, s.connectServer = redisAt(proxy.Addr), redisAt(broker.Addr)
	tr := &trial{name: "Redis' reply to the push of a request dropped", site: s}
	testReplyDropped(t, tr, proxy, `"N":%d`, func(int64) bool { return true })
}

// An answer is sent again if the reply to its push is lost.
func TestRedisAnswerReplyDropped(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	proxy := brokertest.StartProxy(t, broker.Addr)
	s := newRedisSite(t, broker)
	s.connectServer = redisAt(proxy.Addr)
	tr := &trial{name: "Redis' reply to the push of an answer dropped", site: s}
	tr.note = func(tally) string {
		twice := tr.conn.(*redisconn.ClientConn).Stats().Replies - tr.answered.Load()
		return fmt.Sprintf("%d answers came twice", twice)
	}
	testReplyDropped(t, tr, proxy, `"result":%d`, func(cuts int64) bool {
		return tr.server.(*worker).conn.(*redisconn.ServerConn).Stats().Reconnects == cuts
	})
}

// Redis refuses a message over its own limit, and with it all that are pushed in
// the same command.
func TestRedisGiants(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t, "--proto-max-bulk-len", "1048576", "--client-query-buffer-limit", "4194304")
	tr := &trial{name: "Redis: messages over its limit", site: newRedisSite(t, broker), allow: allowed{failed: many}}
	tr.note = func(tally) string {
		return fmt.Sprintf("%d such messages; calls sent along with one fail, too", giants)
	}
	tr.client.MaxMessageSize = 4 << 20
	tr.run(t, func() {
		for range giants {
			_, err := tr.ask(strings.Repeat("x", 2<<20))
			require.Error(t, err)
		}
	})
}

func TestRedisOverMaxMessageSize(t *testing.T) {
	t.Parallel()
	testOverMaxMessageSize(t, "Redis", newRedisSite(t, brokertest.StartRedis(t)))
}

const giants = 5

// testOverMaxMessageSize makes calls whose requests exceed the client's limit. They are not
// sent.
func testOverMaxMessageSize(t *testing.T, broker string, s site) {
	const limit = 64 << 10
	tr := &trial{name: broker + ": messages over the client's limit", site: s, timeout: servicetest.Soon, allow: allowed{failed: giants}}
	tr.note = func(tally) string { return fmt.Sprintf("%d such messages", giants) }
	tr.client.MaxMessageSize = limit
	tr.run(t, func() {
		for range giants {
			_, err := tr.ask(strings.Repeat("x", limit))
			require.ErrorIs(t, err, jsonrpc2.ErrTooLarge)
		}
	})
}
