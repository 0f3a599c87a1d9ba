package faulttest

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// Redis answers before it replicates. After a failover, requests that the master handed out
// last may be in the queue again, and requests that it took last may be missing.
var failedOver = allowed{failed: many, lost: many, again: prefetch}

func TestRedisSentinelFailover(t *testing.T) {
	slow(t)
	t.Parallel()
	testSentinelFailover(t, "Redis Sentinel, planned failover", redisconn.ListenOptions{})
}

func testSentinelFailover(t *testing.T, name string, listening redisconn.ListenOptions) {
	sentinel := brokertest.StartSentinel(t)
	s := sentinelSite(t, sentinel)
	s.listening = listening
	tr := &trial{name: name, site: s, timeout: 4 * time.Second, allow: failedOver}
	tr.run(t, func() {
		for range 2 {
			sentinel.Failover()
			tr.awaitAnswered(t, enough)
		}
	})
}

func TestRedisSentinelMasterSuspended(t *testing.T) {
	slow(t)
	t.Parallel()
	sentinel := brokertest.StartSentinel(t)
	tr := &trial{name: "Redis Sentinel, master suspended", site: sentinelSite(t, sentinel), timeout: 4 * time.Second, allow: failedOver}
	tr.run(t, func() {
		old := sentinel.Master()
		old.Stop()
		servicetest.Eventually(t, func() bool { return sentinel.Master() != old })
		tr.awaitAnswered(t, enough)
		old.Cont()
		servicetest.Eventually(t, func() bool {
			return strings.Contains(old.Client(t).Info(context.Background(), "replication").Val(), "role:slave")
		})
	})
}

func sentinelSite(t *testing.T, sentinel *brokertest.Sentinel) *redisSite {
	connect := func() redis.UniversalClient {
		return redis.NewFailoverClient(&redis.FailoverOptions{
			MasterName:    sentinel.MasterName,
			SentinelAddrs: sentinel.SentinelAddrs,
		})
	}
	admin := connect()
	t.Cleanup(func() { _ = admin.Close() })
	return &redisSite{connect: connect, admin: admin}
}

// The master that holds the queue is killed, and its replica takes over.
func TestRedisClusterMasterKilled(t *testing.T) {
	slow(t)
	t.Parallel()
	testClusterMasterKilled(t, "Redis Cluster, master killed", redisconn.ListenOptions{})
}

func testClusterMasterKilled(t *testing.T, name string, listening redisconn.ListenOptions) {
	cluster := brokertest.StartRedisCluster(t, 3, 1)
	connect := func() redis.UniversalClient {
		return redis.NewClusterClient(&redis.ClusterOptions{Addrs: cluster.Addrs})
	}
	admin := connect().(*redis.ClusterClient)
	t.Cleanup(func() { _ = admin.Close() })
	s := &redisSite{connect: connect, admin: admin, listening: listening}
	tr := &trial{name: name, site: s, timeout: 4 * time.Second, allow: failedOver}
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
	require.NoError(t, err)
	for _, node := range cluster.Nodes {
		if node.Addr == client.Options().Addr {
			return node
		}
	}
	require.FailNow(t, "no master has the queue")
	return nil
}

// The node that leads a quorum queue is killed. Confirmed requests run.
func TestRabbitMQClusterLeaderKilled(t *testing.T) {
	slow(t)
	nodes := brokertest.StartRabbitMQCluster(t, 3).Nodes
	s := quorumSite(t, nodes)
	tr := &trial{
		name:    "RabbitMQ cluster, leader of a quorum queue killed",
		site:    s,
		timeout: servicetest.Soon,
		allow:   allowed{failed: many, lost: many, again: prefetch},
		note:    func(tally) string { return "what was confirmed ran" },
	}
	tr.run(t, func() { killLeader(t, s, nodes, func() { tr.awaitAnswered(t, enough) }) })
	ran := int64(len(tr.ledger.runs(t)) + tr.ledger.notes(t))
	require.LessOrEqual(t, tr.conn.(*amqpconn.ClientConn).Stats().Confirmed, ran, "confirmed, but did not run")
}

// quorumSite returns a site on a cluster, with a quorum queue.
func quorumSite(t *testing.T, nodes []*brokertest.RabbitMQ) *rabbitSite {
	s := newRabbitSite(t, nodes[0])
	for _, node := range nodes[1:] {
		s.dialing.URLs = append(s.dialing.URLs, node.URL())
	}
	s.dialing.Persistent = true
	s.listening.URLs = s.dialing.URLs
	s.listening.Queue.Quorum = true
	return s
}

// killLeader kills the node that leads a quorum queue, and starts it again when meanwhile
// returns.
func killLeader(t *testing.T, s *rabbitSite, nodes []*brokertest.RabbitMQ, meanwhile func()) {
	t.Helper()
	awaitMembers(t, s, len(nodes))
	leader := leaderOf(t, s, nodes)
	s.admin = func() *brokertest.RabbitMQ { return otherThan(leader, nodes) }
	leader.Kill()
	meanwhile()
	leader.Start()
}

// awaitMembers waits until a quorum queue has all members. It then waits for as long as
// RabbitMQ may lose messages that it has confirmed on a new queue.
func awaitMembers(t *testing.T, s *rabbitSite, members int) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		for line := range strings.Lines(s.admin().Queues("name", "online")) {
			if name, online, _ := strings.Cut(line, "\t"); name == s.queue {
				return strings.Count(online, "brokertest-") == members
			}
		}
		return false
	})
	<-time.After(settled)
}

func leaderOf(t *testing.T, s *rabbitSite, nodes []*brokertest.RabbitMQ) *brokertest.RabbitMQ {
	t.Helper()
	for line := range strings.Lines(s.admin().Queues("name", "leader")) {
		name, leader, _ := strings.Cut(line, "\t")
		for _, node := range nodes {
			_, port, err := net.SplitHostPort(node.Addr)
			require.NoError(t, err)
			if name == s.queue && strings.Contains(leader, port) {
				return node
			}
		}
	}
	require.FailNow(t, "the queue has no leader")
	return nil
}

func otherThan(node *brokertest.RabbitMQ, nodes []*brokertest.RabbitMQ) *brokertest.RabbitMQ {
	if nodes[0] != node {
		return nodes[0]
	}
	return nodes[1]
}
