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

// Faults that last for longer than the lease of a server. All calls are answered, and
// none runs more often than servers were silent.

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

// silences is how often a server is silent, or a broker.
const silences = 2

// silenceTime is how long each lasts: by then others have taken over.
const silenceTime = 2 * time.Second

// What a server in a black hole has is run by another. When it is back it learns that,
// and works on.
func TestRedisServerBlackHoleAtLeastOnce(t *testing.T) {
	t.Parallel()
	testServerSilent(t, "Redis server in a black hole, at least once", func(proxy *brokertest.Proxy) (end func()) {
		proxy.BlackHole(true)
		return func() { proxy.BlackHole(false) }
	})
}

// What a server had sent before others took over may arrive after that: it settles,
// takes and renews nothing any more.
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

// A command that is late is sent again on another connection, so that Redis gets it
// twice, the second time when its requests have run, and others have come.
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

// A broker that stands still is no server's silence: nobody is taken over.
func TestRedisSuspendedAtLeastOnce(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	s := newRedisSite(t, broker)
	testAllSilent(t, "Redis suspended for leases, at least once", s, func() (end func()) {
		broker.Stop()
		return broker.Cont
	})
}

// Nor is it one when no server reaches the broker. Whoever reaches it first finds that
// no other has renewed its lease.
func TestRedisServersBlackHoleAtLeastOnce(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	testAllSilent(t, "All Redis servers in a black hole, at least once", s, func() (end func()) {
		proxy.BlackHole(true)
		return func() { proxy.BlackHole(false) }
	})
}

// testAllSilent has no server hear of the broker, again and again.
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

// A server that is killed while it runs calls has them run by the next one.
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
