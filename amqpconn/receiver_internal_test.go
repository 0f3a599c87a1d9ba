package amqpconn

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// The end of a session waits for the goroutines that expect answers. None is started beside
// it or after it: nobody would wait for that one.
func TestReceiveSessionEndWaits(t *testing.T) {
	t.Parallel()
	conn, err := amqp.Dial(brokertest.SharedRabbitMQ(t).URL())
	require.NoError(t, err)
	s, err := new(receiver).open(conn)
	require.NoError(t, err)
	returned, startedBeside := false, true
	require.True(t, s.start(func() {
		<-s.gone
		startedBeside = s.start(func() {})
		returned = true
	}))
	s.end()
	require.True(t, returned)
	require.False(t, startedBeside)
	require.False(t, s.start(func() {}))
	require.True(t, conn.IsClosed())
}
