package brokertest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A RabbitMQ is a private RabbitMQ node.
type RabbitMQ struct {
	Addr string // host:port

	t    testing.TB
	node *rabbitNode
}

// StartRabbitMQ starts a RabbitMQ node that the test's cleanup ends. That
// takes some seconds; see [SharedRabbitMQ].
func StartRabbitMQ(t testing.TB) *RabbitMQ {
	t.Helper()
	return startRabbitMQ(t, erlangHostFor(t))
}

// erlangHostFor starts an Erlang host that the test's cleanup ends.
func erlangHostFor(t testing.TB) *erlangHost {
	t.Helper()
	host, err := startErlangHost(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { require.NoError(t, host.kill()) })
	return host
}

// startRabbitMQ starts a node that joins the cluster of its peers, if any.
func startRabbitMQ(t testing.TB, host *erlangHost, peers ...string) *RabbitMQ {
	t.Helper()
	node, err := startRabbitNode(host, t.TempDir(), peers...)
	if err != nil {
		t.Fatal(err)
	}
	r := &RabbitMQ{Addr: node.addr(), t: t, node: node}
	t.Cleanup(r.Kill)
	return r
}

// URL returns the node's address as an amqp:// URL.
func (r *RabbitMQ) URL() string { return r.node.url() }

// Kill kills the node without warning and waits until it is gone.
func (r *RabbitMQ) Kill() {
	r.t.Helper()
	require.NoError(r.t, r.node.proc.kill())
}

// Start starts a killed node again, on the same ports and folder, and waits
// until clients can connect.
func (r *RabbitMQ) Start() {
	r.t.Helper()
	require.NoError(r.t, r.node.start())
}

// Restart is Kill and Start.
func (r *RabbitMQ) Restart() {
	r.t.Helper()
	r.Kill()
	r.Start()
}

// Stop suspends the node: it keeps its connections and answers nothing.
func (r *RabbitMQ) Stop() {
	r.t.Helper()
	require.NoError(r.t, r.node.proc.suspend())
}

// Cont lets a suspended node go on.
func (r *RabbitMQ) Cont() {
	r.t.Helper()
	require.NoError(r.t, r.node.proc.signal(resume))
}

// Ctl runs rabbitmqctl against the node and returns what it prints.
func (r *RabbitMQ) Ctl(args ...string) string {
	r.t.Helper()
	out, err := r.node.ctl(args...)
	require.NoError(r.t, err)
	return out
}
