package amqpconn

import (
	"context"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// A request that is at hand when the drain begins goes back, too.
func TestDrainedConsumerGivesBackWhatIsAtHand(t *testing.T) {
	t.Parallel()
	var nacks nackBook
	deliveries := make(chan amqp.Delivery, 1)
	c := newConsumer(&server{}, nil)
	c.reading = &consuming{deliveries: deliveries}

	deliveries <- amqp.Delivery{Acknowledger: &nacks, DeliveryTag: 1}
	d, ok, err := c.next(context.Background(), nil, nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1, d.DeliveryTag)

	c.drain()
	deliveries <- amqp.Delivery{Acknowledger: &nacks, DeliveryTag: 2}
	_, ok, err = c.next(context.Background(), nil, nil)
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, []uint64{2}, nacks.requeued)
	require.EqualValues(t, 1, c.server.givenBack.Load())
}

// A nackBook notes what is given back, and knows nothing else.
type nackBook struct {
	amqp.Acknowledger
	requeued []uint64
}

func (n *nackBook) Nack(tag uint64, multiple, requeue bool) error {
	if requeue && !multiple {
		n.requeued = append(n.requeued, tag)
	}
	return nil
}
