package amqpconn

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// newTestInspector returns an inspector with a connection, and what it is to see.
func newTestInspector() (n *inspector, seen *queueState, looks *int) {
	r := newReceiver(nil, nil)
	r.set(new(receiveSession))
	n = newInspector(r, "calc", link.NewAsker())
	seen, looks = new(queueState), new(int)
	n.look = func() queueState { *looks++; return *seen }
	return n, seen, looks
}

// A queue is looked at when somebody wants to know, and at most once a second for
// consumers. What was published since counts as waiting.
func TestLooksAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, seen, looks := newTestInspector()
		for second := range 10 {
			seen.consumers = second % 2
			for range 100 {
				require.Equal(t, second%2 == 0, n.within(consumersFresh).isUnserved())
				time.Sleep(10 * time.Millisecond)
			}
			require.Equal(t, second+1, *looks)
		}
		time.Sleep(time.Hour)
		require.Equal(t, 10, *looks, "nobody asks")

		seen.messages = 3
		require.Equal(t, 3, n.within(messagesFresh).messages)
		n.add(4)
		require.Equal(t, 7, n.within(messagesFresh).messages)
		time.Sleep(messagesFresh)
		require.Equal(t, 3, n.within(messagesFresh).messages)
		n.receiver.set(new(receiveSession))
		n.within(time.Hour)
		require.Equal(t, 13, *looks, "another connection tells more")
	})
}

// A look that fails, or that is not answered, says nothing of consumers. It is logged once
// until looks work again.
func TestLooksThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, seen, looks := newTestInspector()
		var log servicetest.LogBook
		n.logger = log.Logger()
		for outage := 1; outage <= 2; outage++ {
			seen.err = errors.New("no right")
			for range 5 {
				require.False(t, n.within(consumersFresh).isUnserved())
				time.Sleep(consumersFresh)
			}
			require.Equal(t, outage, log.Count("level=WARN", "can't look at the queue", "no right"), &log)
			seen.err = nil
			require.True(t, n.within(consumersFresh).isUnserved())
			time.Sleep(consumersFresh)
		}
		require.Equal(t, 12, *looks)

		look := n.look
		n.look = func() queueState { time.Sleep(time.Minute); return look() }
		begin := time.Now()
		require.False(t, n.within(consumersFresh).isUnserved())
		require.False(t, n.within(consumersFresh).isUnserved())
		require.Equal(t, lookTime, time.Since(begin), "nobody waits for it again at once")
		require.Equal(t, 1, log.Count("no answer from the broker"), &log)
		n.asker.Close()
	})
}
