package amqpconn

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// A request that was delivered and not read when the drain begins goes back, too.
func TestDrainedConsumerGivesBackWhatIsAtHand(t *testing.T) {
	t.Parallel()
	var nacks nackBook
	unread := make(chan delivery, 1)
	c := newConsumer(nil, nil, "", &ListenOptions{}, newRuns())
	c.reading = &consumeSession{unread: unread}

	unread <- delivery{Delivery: amqp.Delivery{Acknowledger: &nacks, DeliveryTag: 1}}
	d, ok, err := c.next(context.Background(), nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 1, d.DeliveryTag)

	c.drain()
	unread <- delivery{Delivery: amqp.Delivery{Acknowledger: &nacks, DeliveryTag: 2}}
	_, ok, err = c.next(context.Background(), nil)
	require.NoError(t, err)
	require.False(t, ok)
	require.Equal(t, []uint64{2}, nacks.requeued)
	require.EqualValues(t, 1, c.givenBack.Load())
}

// What comes when the drain begins goes back with the rest, when the consumer is cancelled: the
// broker would deliver again what goes back before.
func TestDrainedConsumerKeepsUntilItIsCancelled(t *testing.T) {
	t.Parallel()
	const requests = 50
	c := newConsumer(nil, nil, "", &ListenOptions{}, newRuns())
	s := &consumeSession{unread: make(chan delivery, requests)}
	c.drain()
	for range requests {
		c.keep(t.Context(), s, amqp.Delivery{Acknowledger: new(nackBook)})
	}
	require.Len(t, s.unread, requests)
	require.Zero(t, c.givenBack.Load())
}

// The time of a request counts from its delivery, not from when it is read.
func TestDeadlineOfADelivery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for expiration, want := range map[string]time.Duration{
			"1":          time.Millisecond,
			"30000":      30 * time.Second,
			"4294967295": 4294967295 * time.Millisecond,
			"":           0, // none
			"0":          0,
			"-1":         0,
			"+1":         0,
			"4294967296": 0,
			"1.5":        0,
			"soon":       0,
		} {
			c := newConsumer(nil, nil, "", &ListenOptions{}, newRuns())
			c.reading = &consumeSession{unread: make(chan delivery, 1), acks: newRequestAcks(nil, nil)}
			came := time.Now()
			c.keep(t.Context(), c.reading, amqp.Delivery{Expiration: expiration})
			time.Sleep(time.Minute)
			d, ok, err := c.next(t.Context(), nil)
			require.NoError(t, err)
			require.True(t, ok)
			require.Same(t, c.reading.acks, d.acks)
			require.Equal(t, want == 0, d.deadline.IsZero(), expiration)
			if want > 0 {
				require.Equal(t, want, d.deadline.Sub(came))
			}
		}
	})
}

// A request that was not read when its connection ended is not run: the broker delivers it
// again.
func TestEndedConnectionHasNoRequests(t *testing.T) {
	t.Parallel()
	c := newConsumer(nil, nil, "", &ListenOptions{}, newRuns())
	s := &consumeSession{unread: make(chan delivery, 2)}
	c.reading = s
	c.keep(context.Background(), s, amqp.Delivery{DeliveryTag: 1})
	c.keep(context.Background(), s, amqp.Delivery{DeliveryTag: 2})
	s.drop()
	_, ok, err := c.next(context.Background(), nil)
	require.NoError(t, err)
	require.False(t, ok)
	require.Nil(t, c.reading)
}

// A nackBook notes the tags of requests that are given back.
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
