package amqpconn

import (
	"net/url"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// The idle timer of a lane closes its own connection, and no later one. Neither the next
// connection nor the end of the lane comes before that is done, even if the broker does not
// answer.
func TestLaneWaitsForIdleTimer(t *testing.T) {
	t.Parallel()
	broker, err := url.Parse(brokertest.SharedRabbitMQ(t).URL())
	require.NoError(t, err)
	proxy := brokertest.StartProxy(t, broker.Host)
	broker.Host = proxy.Addr
	d, err := newDialer(broker.String(), nil, amqp.Config{}, "calc", "server")
	require.NoError(t, err)
	l := newDirectLane(d, newSettler(link.NewState(servicetest.Quiet, "amqp", "calc", "server"), &places{}, false))
	expire := func(s *laneSession) { // as after laneIdle
		begun := make(chan struct{})
		s.idle.Stop()
		s.idle = time.AfterFunc(0, func() { close(begun); s.close() })
		<-begun
	}
	first, err := l.open()
	require.NoError(t, err)
	expire(first)
	second, err := l.open()
	require.NoError(t, err)
	require.True(t, first.conn.IsClosed())
	require.False(t, second.conn.IsClosed())

	proxy.BlackHole(true)
	expire(second)
	l.start()
	l.flush()
	l.stop()
	l.wait()
	require.True(t, second.conn.IsClosed())
}
