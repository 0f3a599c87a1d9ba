package amqpconn

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// gone acknowledges nothing, as a connection that has failed.
type gone struct{}

func (gone) Ack(uint64, bool) error        { return amqp.ErrClosed }
func (gone) Nack(uint64, bool, bool) error { return amqp.ErrClosed }
func (gone) Reject(uint64, bool) error     { return amqp.ErrClosed }

// What can't be acknowledged is delivered again. With AtMostOnce it is not run
// before.
func TestAtMostOnceUnacknowledged(t *testing.T) {
	request := amqp.Delivery{
		Acknowledger: gone{},
		ReplyTo:      "there",
		Body:         []byte(`{"jsonrpc":"2.0","id":"1","method":"add","params":[1,5.1]}`),
	}
	for once, want := range map[bool]error{true: amqp.ErrClosed, false: nil} {
		s := newServer(nil, "calc", ListenOptions{AtMostOnce: once})
		require.ErrorIs(t, s.message(delivery{Delivery: request}).Err, want)
	}
}
