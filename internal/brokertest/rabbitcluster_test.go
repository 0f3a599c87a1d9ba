package brokertest_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

func TestRabbitMQCluster(t *testing.T) {
	t.Parallel()
	c := brokertest.StartRabbitMQCluster(t, 3)
	require.Len(t, c.Nodes, 3)
	put(t, c.Nodes[0], "queue", "message")
	c.Nodes[2].Kill()
	requireGet(t, c.Nodes[1], "queue", "message")
	c.Nodes[2].Start()
	put(t, c.Nodes[1], "queue", "another")
	requireGet(t, c.Nodes[2], "queue", "another")
}
