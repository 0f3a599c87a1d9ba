package amqpconn_test

import (
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// listConsumers makes the broker print the queue and the tag of each consumer.
const listConsumers = `[io:format("~ts\t~ts~n", [element(4, proplists:get_value(queue_name, C)), proplists:get_value(consumer_tag, C)])
	|| C <- rabbit_amqqueue:consumers_all(<<"/">>)]`

// A method may run for longer than the broker waits for an acknowledgement. The
// broker then delivers the request again, to the process that still runs it: it
// does not run there twice at once, and is answered and acknowledged once.
func TestConsumerTimeout(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRabbitMQ(t)
	broker.Eval("application:set_env(rabbit, channel_tick_interval, 500)")
	patience := func(ms int) { broker.Eval(fmt.Sprintf("application:set_env(rabbit, consumer_timeout, %d)", ms)) }
	for _, confirm := range []bool{false, true} {
		for _, quorum := range []bool{false, true} {
			t.Run(fmt.Sprintf("confirm %v, quorum %v", confirm, quorum), func(t *testing.T) {
				s := site{broker.URL(), t.Name()}
				slow := servicetest.NewSlow()
				var log servicetest.LogBook
				patience(1000)
				w := serve(t, s, &amqpconn.ListenOptions{ConfirmReplies: confirm, Queue: amqpconn.Queue{Quorum: quorum}, Logger: log.Logger()}, slow)
				patience(3_600_000) // for later channels: one that ends loses acknowledgements
				ch := s.channel(t)
				own, answers := replyQueue(t, ch, "")
				// Two are alike, and are two nevertheless.
				for _, id := range []int{1, 2, 2} {
					s.publish(t, ch, amqp.Publishing{ReplyTo: own, CorrelationId: "c", DeliveryMode: amqp.Persistent,
						Body: fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"Slow.Wait","params":[%d]}`, id, id)})
				}
				slow.RequireRunning(t, 3)
				consumers := make(map[string]bool) // by tag: it is delivered again
				servicetest.Eventually(t, func() bool {
					for line := range strings.Lines(broker.Eval(listConsumers)) {
						if queue, tag, ok := strings.Cut(line, "\t"); ok && queue == s.queue {
							consumers[tag] = true
						}
					}
					return len(consumers) >= 2
				})
				require.LessOrEqual(t, log.Count("level=ERROR", "timed out"), 3, &log) // for each channel number
				require.EqualValues(t, 3, slow.Running.Load())
				s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("3"))}) // a new one is served
				require.Equal(t, six("3"), string(take(t, answers).Body))
				slow.Open()
				for range 3 {
					require.Contains(t, string(take(t, answers).Body), `"result":`)
				}
				w.End(t)
				s.requireWaiting(t, 0)
				requireNoMore(t, ch, own, answers)
				require.EqualValues(t, 3, slow.Ran.Load())
				require.EqualValues(t, 3, slow.Most.Load())
				require.EqualValues(t, 4, w.conn.Stats().Requests)
			})
		}
	}
}
