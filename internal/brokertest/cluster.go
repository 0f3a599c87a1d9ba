package brokertest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// slots is the number of hash slots of a Redis Cluster.
const slots = 16384

// A RedisCluster is a private Redis Cluster. Its nodes take one of them for failed 3 s after
// that one's last answer.
type RedisCluster struct {
	Addrs []string // of the nodes
	Nodes []*Redis // first the masters, then their replicas in turn
}

// StartRedisCluster starts a Redis Cluster that the test's cleanup ends, and
// waits until all of its nodes know that it is complete.
func StartRedisCluster(t testing.TB, masters, replicasPerMaster int) *RedisCluster {
	t.Helper()
	c := new(RedisCluster)
	for range masters * (1 + replicasPerMaster) {
		c.Nodes = append(c.Nodes, startRedis(t, func(bus int) string {
			return fmt.Sprintf("cluster-enabled yes\ncluster-port %d\ncluster-node-timeout 3000", bus)
		}))
	}
	for _, node := range c.Nodes {
		c.Addrs = append(c.Addrs, node.Addr)
	}
	c.meet(t)
	c.assignSlots(t, masters)
	c.replicate(t, masters)
	require.NoError(t, c.each(clusterOK(masters)))
	return c
}

// meet introduces all nodes to the first one, which makes them known to each other.
func (c *RedisCluster) meet(t testing.TB) {
	t.Helper()
	for _, node := range c.Nodes[1:] {
		host, port, _ := strings.Cut(node.Addr, ":")
		mustAsk(t, c.Nodes[0], fmt.Sprintf("CLUSTER MEET %s %s %d", host, port, node.bus))
	}
	known := fmt.Sprintf("cluster_known_nodes:%d\r\n", len(c.Nodes))
	require.NoError(t, c.each(func(node *Redis) error { return node.says("CLUSTER INFO", known) }))
}

// assignSlots gives every master its share of the slots.
func (c *RedisCluster) assignSlots(t testing.TB, masters int) {
	t.Helper()
	for i, node := range c.Nodes[:masters] {
		first, next := i*slots/masters, (i+1)*slots/masters
		mustAsk(t, node, fmt.Sprintf("CLUSTER ADDSLOTSRANGE %d %d", first, next-1))
	}
}

// replicate makes the nodes after the masters their replicas.
func (c *RedisCluster) replicate(t testing.TB, masters int) {
	t.Helper()
	for i, node := range c.Nodes[masters:] {
		id := mustAsk(t, c.Nodes[i%masters], "CLUSTER MYID")
		mustAsk(t, node, "CLUSTER REPLICATE "+id)
		require.NoError(t, poll(nil, func() error { return node.says("INFO", "master_link_status:up") }))
	}
	replicas := len(c.Nodes) - masters
	require.NoError(t, c.each(func(node *Redis) error {
		list, err := node.ask("CLUSTER NODES")
		if n := strings.Count(list, "slave "); err == nil && n != replicas {
			err = fmt.Errorf("%s knows %d replicas of %d", node.Addr, n, replicas)
		}
		return err
	}))
}

// clusterOK returns a check that a node knows all masters and their slots.
func clusterOK(masters int) func(*Redis) error {
	size := fmt.Sprintf("cluster_size:%d\r\n", masters)
	return func(node *Redis) error {
		if err := node.says("CLUSTER INFO", "cluster_state:ok"); err != nil {
			return err
		}
		return node.says("CLUSTER INFO", size)
	}
}

// each waits until check holds for each node.
func (c *RedisCluster) each(check func(*Redis) error) error {
	for _, node := range c.Nodes {
		if err := poll(nil, func() error { return check(node) }); err != nil {
			return err
		}
	}
	return nil
}

// mustAsk returns a node's reply to a command. An error fails the test.
func mustAsk(t testing.TB, node *Redis, command string) string {
	t.Helper()
	reply, err := node.ask(command)
	require.NoError(t, err)
	return reply
}
