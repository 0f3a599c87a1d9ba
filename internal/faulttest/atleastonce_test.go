package faulttest

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// The faults of a Redis whose servers keep requests until they are answered.

// leased are the options of such a server. Calls of trials wait for longer.
func leased() redisconn.ListenOptions {
	return redisconn.ListenOptions{AtLeastOnce: true, Lease: time.Second}
}

// What a server had taken when its connection was cut it still has.
func TestRedisServerCutAtLeastOnce(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	s.listening = leased()
	testCut(t, proxy, &trial{name: "Redis server's connections cut, at least once", site: s, timeout: soon})
}

// A server that is unheard for longer than its lease has its requests put back
// by itself, if there is no other; none is lost.
func TestRedisServerUnheardAtLeastOnce(t *testing.T) {
	t.Parallel()
	s, proxy := redisBehindProxy(t, false)
	s.listening = leased()
	tr := &trial{name: "Redis server unheard for three leases, at least once", site: s, timeout: soon}
	tr.allow = allowed{again: redisconn.DefaultPrefetch}
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

// What is not sent does not run; what is sent is answered.
func TestRedisOutOfMemoryAtLeastOnce(t *testing.T) {
	t.Parallel()
	s := newRedisSite(t, brokertest.StartRedis(t))
	s.listening = leased()
	tr := &trial{name: "Redis out of memory, at least once", site: s, timeout: soon, allow: allowed{failed: many}}
	tr.run(t, func() {
		s.do(t, "config", "set", "maxmemory", 1)
		tr.awaitFailed(t, 2*downtime)
		s.do(t, "config", "set", "maxmemory", 0)
	})
}

// With its data kept what was taken is still held. Only pushes that did not
// arrive are lost, of which the client does not know it.
func TestRedisKilledWithAOFAtLeastOnce(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t, "--appendonly", "yes", "--appendfsync", "always")
	s := newRedisSite(t, broker)
	s.listening = leased()
	tr := &trial{name: "Redis killed, with AOF, at least once", site: s, timeout: 4 * time.Second}
	tr.allow = allowed{failed: many, lost: restarts * downtime, again: restarts * redisconn.DefaultPrefetch}
	tr.run(t, func() {
		for range restarts {
			broker.Kill()
			tr.awaitFailed(t, downtime)
			broker.Start()
			tr.awaitAnswered(t, enough)
		}
	})
}

func TestRedisSentinelFailoverAtLeastOnce(t *testing.T) {
	slow(t)
	t.Parallel()
	sentinel := brokertest.StartSentinel(t)
	s := sentinelSite(t, sentinel)
	s.listening = leased()
	tr := &trial{name: "Redis Sentinel, planned failover, at least once", site: s, timeout: 4 * time.Second, allow: failedOver}
	tr.run(t, func() {
		for range 2 {
			sentinel.Failover()
			tr.awaitAnswered(t, enough)
		}
	})
}

func TestRedisClusterMasterKilledAtLeastOnce(t *testing.T) {
	slow(t)
	t.Parallel()
	cluster := brokertest.StartRedisCluster(t, 3, 1)
	connect := func() redis.UniversalClient {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
	}
	admin := connect().(*redis.ClusterClient)
	t.Cleanup(func() { _ = admin.Close() })
	s := &redisSite{connect: connect, admin: admin, listening: leased()}
	tr := &trial{name: "Redis Cluster, master killed, at least once", site: s, timeout: 4 * time.Second, allow: failedOver}
	tr.run(t, func() {
		holder := holderOf(t, cluster, admin)
		holder.Kill()
		tr.awaitFailed(t, downtime)
		tr.awaitAnswered(t, enough)
		holder.Start()
	})
}

// holderOf returns the master that has the queue.
func holderOf(t *testing.T, cluster *brokertest.RedisCluster, admin *redis.ClusterClient) *brokertest.Redis {
	t.Helper()
	client, err := admin.MasterForKey(context.Background(), queue)
	if err == nil {
		for _, node := range cluster.Nodes {
			if node.Addr == client.Options().Addr {
				return node
			}
		}
	}
	t.Fatalf("no master has the queue: %v", err)
	return nil
}

func TestRedisRollingDeployAtLeastOnce(t *testing.T) {
	slow(t)
	s := newRedisSite(t, brokertest.StartRedis(t))
	s.listening = leased()
	testRollingDeploy(t, "Redis servers replaced one by one, at least once", s)
}
