package amqpconn_test

import (
	"fmt"
	"net/rpc"
	"strings"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A queue that vanishes under a client that declares it comes back with the next
// request, which gets its answer; so do many at once, and notifications.
func TestQueueVanishes(t *testing.T) {
	t.Parallel()
	for _, persistent := range []bool{false, true} {
		for name, queue := range map[string]amqpconn.Queue{
			"expired": {Args: amqp.Table{"x-expires": int32(3_600_000)}}, // sooner while the test says so
			"deleted": {},
		} {
			t.Run(fmt.Sprintf("%s, persistent %v", name, persistent), func(t *testing.T) {
				t.Parallel()
				const calls = 20
				s := newSite(t)
				var log servicetest.LogBook
				c := dial(t, s, &amqpconn.DialOptions{Declare: &queue, Persistent: persistent, Logger: log.Logger()}, servicetest.Soon)
				for round := range 3 {
					s.requireExists(t, true)
					if name == "deleted" {
						s.delete(t)
						s.requireExists(t, false)
					} else {
						s.expire(t)
					}
					var pending []*rpc.Call
					var notified sync.WaitGroup
					for range calls {
						pending = append(pending, c.Go("Calc.Add", []float64{1, 5.1}, new(float64), nil))
						notified.Go(func() { assert.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", []float64{1, 5.1})) })
					}
					notified.Wait()
					s.requireWaiting(t, 2*calls)
					w := serve(t, s, nil)
					for _, call := range pending {
						<-call.Done
						require.NoError(t, call.Error)
					}
					// A notification behind the last call would be given back in a drain.
					servicetest.Eventually(t, func() bool { return w.conn.Stats().Requests >= 2*calls })
					w.End(t)
					require.EqualValues(t, 2*calls, w.conn.Stats().Requests, "round %d: each once", round)
				}
				require.Zero(t, c.conn.Stats().NoServer)
				require.Zero(t, log.Count(""), &log)
			})
		}
	}
}

// expire makes the queue expire. A policy says so, which is gone then: else the next queue might
// expire with what waits in it.
func (s site) expire(t *testing.T) {
	t.Helper()
	broker, name := brokertest.SharedRabbitMQ(t), s.queue[len(s.queue)-26:] // the random part
	broker.Eval(fmt.Sprintf(`ok = rabbit_policy:set(<<"/">>, <<%q>>, <<%q>>, [{<<"expires">>, 50}], 0, <<"queues">>, <<"test">>)`, name, name))
	s.requireExists(t, false)
	broker.Eval(fmt.Sprintf(`ok = rabbit_policy:delete(<<"/">>, <<%q>>, <<"test">>)`, name))
}

// requireExists waits until the queue is there, or is not. To look at it by AMQP
// would put off its expiry.
func (s site) requireExists(t *testing.T, exists bool) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		return strings.Contains(brokertest.SharedRabbitMQ(t).Queues("name"), s.queue) == exists
	})
}

// Where the queue can't be made again the call says why, and is not tried for ever.
func TestQueueVanishesForGood(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	broken := amqpconn.Queue{Args: amqp.Table{"x-queue-type": "nonsense"}}
	c := dial(t, s, &amqpconn.DialOptions{Declare: &broken, Logger: servicetest.Quiet}, servicetest.Soon)
	require.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", nil)) // it has connected
	s.requireWaiting(t, 1)
	s.delete(t)
	_, err := c.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrNoServer)
	require.ErrorContains(t, err, "x-queue-type")
	require.EqualValues(t, 1, c.conn.Stats().NoServer)
}
