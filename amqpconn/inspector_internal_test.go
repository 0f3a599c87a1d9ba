package amqpconn

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/link"
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
