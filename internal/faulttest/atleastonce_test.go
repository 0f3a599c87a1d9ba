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

// leased are the options of such a server. Calls of trials wait for longer.
func leased() redisconn.ListenOptions {
	return redisconn.ListenOptions{Guarantee: jsonrpc2.AtLeastOnce, Lease: time.Second}
}

// What a server had taken when its connection was cut it still has.
func TestRedisServerCutAtLeastOnce(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	s.listening = leased()
	testCut(t, proxy, &trial{name: "Redis server's connections cut, at least once", site: s, timeout: servicetest.Soon})
}

// A server that is unheard for longer than its lease has its requests put back
// by itself, if there is no other; none is lost.
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

// With its data kept what was taken is still held. Only pushes that did not
// arrive are lost, of which the client does not know it.
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
