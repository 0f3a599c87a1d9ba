package amqpconn_test

import (
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// poisonousHeaders are headers that make the library close a connection.
func poisonousHeaders() map[string]amqp.Table {
	tables, arrays := amqp.Table{}, []any{}
	for range 40 {
		tables, arrays = amqp.Table{"a": tables}, []any{arrays}
	}
	many := amqp.Table{}
	for i := range 9000 {
		many[fmt.Sprint(i)] = true
	}
	return map[string]amqp.Table{
		"tables 40 deep": tables,
		"arrays 40 deep": {"a": arrays},
		"long array":     {"a": make([]any, 9000)},
		"many":           many,
	}
}

// A message with headers that the library can't read is served like any other, and a client
// takes an answer with such headers. The library alone would close the connection, get the
// message again, and so on for ever.
func TestPoisonousHeaders(t *testing.T) {
	t.Parallel()
	for _, quorum := range []bool{false, true} {
		for name, headers := range poisonousHeaders() {
			t.Run(fmt.Sprintf("%s, quorum %v", name, quorum), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				var log servicetest.LogBook
				w := serve(t, s, &amqpconn.ListenOptions{Queue: amqpconn.Queue{Quorum: quorum}, Logger: log.Logger()})
				c := dial(t, s, &amqpconn.DialOptions{Logger: log.Logger()}, 0)
				c.requireAdds(t)
				ch := s.channel(t)
				own, answers := replyQueue(t, ch, "")
				for i := range 3 {
					id := fmt.Sprint(i)
					s.publish(t, ch, amqp.Publishing{ReplyTo: own, ContentType: "application/json", CorrelationId: id,
						Headers: headers, DeliveryMode: amqp.Persistent, Body: []byte(add(id))})
					c.requireAdds(t)
					d := take(t, answers)
					require.Equal(t, six(id), string(d.Body))
					require.Equal(t, id, d.CorrelationId)
				}
				w.End(t)
				c.end(t)
				require.Zero(t, log.Count(""), &log)
				s.requireWaiting(t, 0)
			})
		}
	}
}

// The queues that we create as quorum queues don't deliver a message for ever.
func TestDeliveryLimitOfOurQueues(t *testing.T) {
	t.Parallel()
	broker := brokertest.SharedRabbitMQ(t)
	quorum := amqpconn.Queue{Quorum: true}
	own := amqpconn.Queue{Quorum: true, Args: amqp.Table{"x-delivery-limit": int32(3)}}
	for name, test := range map[string]struct {
		listen *amqpconn.ListenOptions
		dial   *amqpconn.DialOptions
		want   string
	}{
		"default":    {&amqpconn.ListenOptions{Queue: quorum, Logger: servicetest.Quiet}, nil, `{"x-delivery-limit",20}`},
		"ours":       {&amqpconn.ListenOptions{Queue: quorum, MaxDeliveries: 7, Logger: servicetest.Quiet}, nil, `{"x-delivery-limit",7}`},
		"its own":    {&amqpconn.ListenOptions{Queue: own, MaxDeliveries: 7, Logger: servicetest.Quiet}, nil, `{"x-delivery-limit",3}`},
		"a client's": {nil, &amqpconn.DialOptions{Declare: &quorum, Logger: servicetest.Quiet}, `{"x-delivery-limit",20}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			if test.listen != nil {
				serveWith(t, s, test.listen, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
			} else {
				dial(t, s, test.dial, 0)
				s.requireWaiting(t, 0)
			}
			var arguments string
			for line := range strings.Lines(broker.Ctl("list_queues", "name", "arguments")) {
				if name, rest, ok := strings.Cut(line, "\t"); ok && name == s.queue {
					arguments = rest
				}
			}
			require.Contains(t, arguments, test.want)
		})
	}
}
