package faulttest

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// Faults that last longer than the lease of a server. All calls are answered. A call may run
// once more for each time that a server is silent.

// leasedTrial returns a trial on a site whose servers have short leases. It requires
// that each call is answered once.
func leasedTrial(t *testing.T, name string, s *redisSite) *trial {
	s.listening.Guarantee, s.listening.Lease = leased().Guarantee, leased().Lease
	tr := &trial{name: name, site: s, timeout: servicetest.Soon}
	tr.note = func(sum tally) string {
		require.EqualValues(t, sum.answered, tr.conn.(*redisconn.ClientConn).Stats().Replies, "answers")
		return ""
	}
	return tr
}

// silences is how often a server or a broker is silent.
const silences = 2

// silenceTime is how long each silence lasts: until then, other servers have taken over.
const silenceTime = 2 * time.Second

// Another server runs the requests that a server in a black hole has. When that one is back, it
// learns of it, and works on.
func TestRedisServerBlackHoleAtLeastOnce(t *testing.T) {
	t.Parallel()
	testServerSilent(t, "Redis server in a black hole, at least once", func(proxy *brokertest.Proxy) (end func()) {
		proxy.BlackHole(true)
		return func() { proxy.BlackHole(false) }
	})
}

// Commands that a server had sent may arrive after others have taken over. They then settle,
// take and renew nothing.
func TestRedisServerLateAtLeastOnce(t *testing.T) {
	t.Parallel()
	testServerSilent(t, "Redis server's commands late by leases, at least once", func(proxy *brokertest.Proxy) (end func()) {
		return proxy.Hold(true)
	})
}

// testServerSilent makes one of two servers silent, again and again, by a fault of its
// network.
func testServerSilent(t *testing.T, name string, fault func(*brokertest.Proxy) (end func())) {
	s, proxy := redisBehindProxy(t, false)
	tr := leasedTrial(t, name, s)
	tr.allow = allowed{again: silences * prefetch, runs: silences + 1}
	tr.run(t, func() {
		other := serve(t, &redisSite{connect: s.connect, admin: s.admin, listening: leased()}, tr.ledger, tr.codec)
		for range silences {
			tr.awaitAnswered(t, enough)
			end := fault(proxy)
			<-time.After(silenceTime)
			end()
			tr.awaitAnswered(t, enough)
		}
		other.end(t)
	})
}

// A late command is sent again on another connection. Redis then gets it twice, the second time
// when its requests have run and others have come.
func TestRedisServerSentTwiceAtLeastOnce(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	s.listening.Prefetch = 8 // so that there are requests that a late take could find
	s.connectServer = func() redis.UniversalClient {
		return redis.NewClient(&redis.Options{Addr: proxy.Addr, ReadTimeout: leased().Lease / 4})
	}
	tr := leasedTrial(t, "Redis server's commands late and sent again, at least once", s)
	tr.run(t, func() {
		for range silences {
			release := proxy.Hold(false)
			tr.awaitAnswered(t, enough)
			release()
			tr.awaitAnswered(t, enough)
		}
		requireNothingTakenOver(t, tr.server.(*worker))
	})
}

// requireNothingTakenOver requires that a server had nothing taken over, and took
// nothing over.
func requireNothingTakenOver(t *testing.T, server *worker) {
	t.Helper()
	stats := server.conn.(*redisconn.ServerConn).Stats()
	require.NotZero(t, stats.Requests)
	require.Zero(t, stats.TakenOver+stats.LeaseLost)
}

// While the broker is suspended no server counts as silent: no request is taken over.
func TestRedisSuspendedAtLeastOnce(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	s := newRedisSite(t, broker)
	testAllSilent(t, "Redis suspended for leases, at least once", s, func() (end func()) {
		broker.Stop()
		return broker.Cont
	})
}

// Nor does one count as silent while no server reaches the broker. The server that is back
// first finds that no other has renewed its lease.
func TestRedisServersBlackHoleAtLeastOnce(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	testAllSilent(t, "All Redis servers in a black hole, at least once", s, func() (end func()) {
		proxy.BlackHole(true)
		return func() { proxy.BlackHole(false) }
	})
}

// testAllSilent makes a fault that cuts all servers off from the broker, again and again.
func testAllSilent(t *testing.T, name string, s *redisSite, fault func() (end func())) {
	tr := leasedTrial(t, name, s)
	tr.allow.failed = many
	tr.run(t, func() {
		servers := []*worker{tr.server.(*worker), serve(t, s, tr.ledger, tr.codec), serve(t, s, tr.ledger, tr.codec)}
		for range silences {
			tr.awaitAnswered(t, enough)
			end := fault()
			<-time.After(silenceTime)
			end()
			tr.awaitAnswered(t, enough)
		}
		for _, server := range servers {
			requireNothingTakenOver(t, server)
			if server != tr.server {
				server.end(t)
			}
		}
	})
}

// The calls that a server was running when it was killed are run by the next one.
func TestRedisServerProcessKilledWhileItRuns(t *testing.T) {
	slow(t)
	s := newRedisSite(t, brokertest.StartRedis(t))
	tr := leasedTrial(t, "Redis server process killed while it runs calls, at least once", s)
	tr.allow = allowed{again: silences * prefetch, runs: silences + 1}
	answered := tr.note
	tr.note = func(sum tally) string {
		require.NotZero(t, sum.again, "no call was under way")
		answered(sum)
		return fmt.Sprintf("%d processes killed", silences)
	}
	tr.prepare(t, false)
	config := tr.site.config()
	config.Ledger, config.Work = tr.ledger.path, 3*taskTime
	server := startProcess(t, config)
	tr.start()
	for range silences {
		tr.awaitAnswered(t, enough)
		servicetest.Eventually(t, func() bool {
			done := tr.answered.Load()
			return int64(len(tr.ledger.runs(t))) >= done+int64(tr.callers)/2
		}, "calls run")
		server.Kill()
		server = startProcess(t, config)
		tr.awaitAnswered(t, enough)
	}
	tr.server = server
	tr.finish(t)
}
