package amqpconn

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

// An ackBook notes acknowledgements.
type ackBook []acknowledgement

func (b *ackBook) Ack(tag uint64, multiple bool) error {
	*b = append(*b, acknowledgement{tag, multiple})
	return nil
}

// Answers are acknowledged together: many, long ones, and after a while all.
func TestAcks(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers int
		bytes   int // in each
		want    ackBook
	}{
		{"few", maxUnacked - 1, 100, nil},
		{"many", 2*maxUnacked + 1, 100, ackBook{{maxUnacked, true}, {2 * maxUnacked, true}}},
		{"long", 3, maxUnackedBytes / 2, ackBook{{2, true}}},
		{"very long", 2, 2 * maxUnackedBytes, ackBook{{1, true}, {2, true}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var book ackBook
			a := answerAcks{channel: &book}
			for i := range test.answers {
				a.add(uint64(i+1), test.bytes)
			}
			require.Equal(t, test.want, book)
		})
	}
}

// A few answers are acknowledged at each tick, for as long as the connection
// lasts.
func TestAcksOfFew(t *testing.T) {
	var book ackBook
	a := answerAcks{channel: &book}
	conn, ticks, ended := make(chan *amqp.Error), make(chan time.Time), make(chan error, 1)
	did := make(chan struct{})
	go func() {
		ended <- awaitAnd(context.Background(), conn, nil, ticks, func() {
			a.few()
			did <- struct{}{}
		})
	}()
	tick := func() {
		ticks <- time.Time{}
		<-did
	}
	a.add(1, 1)
	a.add(2, 1)
	tick()
	require.Equal(t, ackBook{{2, true}}, book)
	tick()
	require.Len(t, book, 1, "there is nothing to acknowledge")
	a.add(3, 1)
	tick()
	require.Equal(t, ackBook{{2, true}, {3, true}}, book)
	conn <- amqp.ErrChannelMax
	require.Equal(t, amqp.ErrChannelMax, <-ended)
}
