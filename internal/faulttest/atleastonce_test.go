package faulttest

import (
	"testing"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// The faults of a Redis whose servers keep requests until they are answered.

// leased returns the options of such a server. Its lease is shorter than the timeout of a
// trial's calls.
func leased() redisconn.ListenOptions {
	return redisconn.ListenOptions{Guarantee: jsonrpc2.AtLeastOnce, Lease: time.Second}
}

// A server whose connection is cut still has the requests that it had taken.
func TestRedisServerCutAtLeastOnce(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	s.listening = leased()
	testCut(t, proxy, &trial{name: "Redis server's connections cut, at least once", site: s, timeout: servicetest.Soon})
}

// When Redis does not hear a server for longer than its lease, another server takes over its
// requests. None is lost, and each that was taken over may run again.
func TestRedisServerUnheardAtLeastOnce(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	s.listening = leased()
	tr := &trial{name: "Redis server unheard for three leases, at least once", site: s, timeout: servicetest.Soon}
	tr.allow = allowed{again: prefetch}
	tr.run(t, func() {
		other := serve(t, &redisSite{connect: s.connect, admin: s.admin, listening: leased()}, tr.ledger, tr.codec)
		tr.awaitAnswered(t, enough)
		proxy.Refuse(true)
		<-time.After(3 * s.listening.Lease)
		proxy.Refuse(false)
		tr.awaitAnswered(t, enough)
		other.end(t)
	})
}

func TestRedisOutOfMemoryAtLeastOnce(t *testing.T) {
	t.Parallel()
	testOutOfMemory(t, "Redis out of memory, at least once", leased(), servicetest.Soon)
}

// A Redis that keeps its data still holds the requests that servers had taken. Only pushes are
// lost whose arrival the client does not know.
func TestRedisKilledWithAOFAtLeastOnce(t *testing.T) {
	t.Parallel()
	allow := allowed{failed: many, lost: restarts * downtime, again: restarts * prefetch}
	testRedisKilled(t, "Redis killed, with AOF, at least once", leased(), allow, "--appendonly", "yes", "--appendfsync", "always")
}

func TestRedisSentinelFailoverAtLeastOnce(t *testing.T) {
	slow(t)
	t.Parallel()
	testSentinelFailover(t, "Redis Sentinel, planned failover, at least once", leased())
}

func TestRedisClusterMasterKilledAtLeastOnce(t *testing.T) {
	slow(t)
	t.Parallel()
	testClusterMasterKilled(t, "Redis Cluster, master killed, at least once", leased())
}

func TestRedisRollingDeployAtLeastOnce(t *testing.T) {
	slow(t)
	s := newRedisSite(t, brokertest.StartRedis(t))
	s.listening = leased()
	testRollingDeploy(t, "Redis servers replaced one by one, at least once", s)
}
