package brokertest

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// A RabbitMQCluster is a private cluster of RabbitMQ nodes.
type RabbitMQCluster struct {
	Nodes []*RabbitMQ
}

// StartRabbitMQCluster starts a cluster of n nodes that the test's cleanup ends. The nodes
// start one after another, and each takes some seconds.
func StartRabbitMQCluster(t testing.TB, n int) *RabbitMQCluster {
	t.Helper()
	host := erlangHostFor(t)
	c := &RabbitMQCluster{Nodes: []*RabbitMQ{startRabbitMQ(t, host)}}
	for len(c.Nodes) < n {
		c.Nodes = append(c.Nodes, startRabbitMQ(t, host, c.Nodes[0].node.name))
	}
	require.NoError(t, poll(nil, c.complete))
	return c
}

// complete returns nil when all nodes run, as the first one sees it.
func (c *RabbitMQCluster) complete() error {
	out, err := c.Nodes[0].node.ctl("cluster_status", "--formatter", "json")
	if err != nil {
		return err
	}
	var status struct {
		Running []string `json:"running_nodes"`
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		return fmt.Errorf("brokertest: cluster_status: %w", err)
	}
	if len(status.Running) != len(c.Nodes) {
		return fmt.Errorf("brokertest: of %d nodes only %q run", len(c.Nodes), status.Running)
	}
	return nil
}
