package amqpconn

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// RabbitMQ before 3.10 refuses to bind the queue of dead requests, which the error explains.
func TestUnbound(t *testing.T) {
	t.Parallel()
	old := &amqp.Error{Code: amqp.PreconditionFailed, Reason: `PRECONDITION_FAILED - Invalid x-match field value "any-with-x"; expected all or any`, Server: true}
	err := unbound(old, "calc.dead")
	require.ErrorIs(t, err, old)
	require.ErrorContains(t, err, "needs RabbitMQ 3.10 or newer")
	require.ErrorIs(t, unbound(amqp.ErrClosed, "calc.dead"), amqp.ErrClosed)
}
