package amqpconn

import (
	"log/slog"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/fuzztest"
)

// FuzzReplyQueue makes a message of anything that a stranger may publish: its
// answer goes to a queue that is not the one being served, or nowhere, and the
// broker would take what it says.
func FuzzReplyQueue(f *testing.F) {
	fuzztest.AddSeeds(f)
	for _, body := range []string{
		``, "\x00", "\xff", `null`, `[]`, `[[]]`, strings.Repeat(`[`, 1000), `{"id":"x"`, `{"id":"` + strings.Repeat("x", 256) + `"}`,
		`{"jsonrpc":"2.0","id":1,"method":"add","reply_to":"there"}`,
		`{"jsonrpc":"2.0","id":"calc","method":"add"}`,
		`{"jsonrpc":"2.0","id":"ca\u006cc","method":"add"}`,
		`{"jsonrpc":"2.0","method":"add"}`,
		`{"jsonrpc":"2.0","id":"calc","result":1}`,
		`[{"jsonrpc":"2.0","id":1,"method":"add"},{"id":"calc","method":"x"}]`,
	} {
		f.Add(body, "", "", "calc", int64(0))
		f.Add(body, "calc", "c", "calc", int64(1))
		f.Add(body, "amq.", "c", "calc", int64(15))
		f.Add(body, "amq.rabbitmq.reply-to", strings.Repeat("c", 256), "calc", int64(20))
	}
	f.Fuzz(func(t *testing.T, body, replyTo, correlation, queue string, count int64) {
		if len(replyTo) > maxAddress || len(correlation) > maxAddress {
			return // the protocol's short strings hold no more
		}
		s := newServerConn(nil, queue, ListenOptions{Logger: slog.New(slog.DiscardHandler)})
		acks := newRequestAcks(nil, nil)
		d := s.deliverer.deliver(delivery{Delivery: amqp.Delivery{
			Acknowledger:  &rejectBook{},
			Body:          []byte(body),
			ReplyTo:       replyTo,
			CorrelationId: correlation,
			DeliveryTag:   1,
			Headers:       amqp.Table{"x-delivery-count": count},
		}, acks: acks})
		require.Equal(t, body, string(d.Body))
		var header jsonrpc2.Header
		header.Scan([]byte(body))
		if count >= defaultMaxDeliveries {
			require.Error(t, d.Err)
			require.NoError(t, d.Reply(nil))
			require.Zero(t, s.replier.outbox.Len(), "it is rejected, not acknowledged")
			require.EqualValues(t, 1, acks.upTo)
			return
		}
		answer := []byte("answer")
		if d.Err != nil {
			require.True(t, header.WantsAnswer(), "nobody waits, and yet it is not run")
			require.EqualValues(t, 1, s.deliverer.noAddress.Load()+s.deliverer.refused.Load())
			answer = nil
		}
		err := d.Reply(answer)
		replies, _ := s.replier.outbox.Take(nil)
		if len(replies) == 0 {
			replies, _ = s.replier.directs.outbox.Take(nil)
			require.True(t, isDirect(replyTo), "others have no way of their own")
		}
		require.Len(t, replies, 1)
		require.EqualValues(t, 1, replies[0].request.DeliveryTag)
		if d.Err != nil || err != nil {
			require.Empty(t, replies[0].queue, "it is only acknowledged")
			return
		}
		to := replies[0].queue
		require.True(t, to == replyTo || replyTo == "" && to == header.ID())
		require.NotEmpty(t, to)
		require.NotEqual(t, queue, to)
		require.LessOrEqual(t, len(to), maxAddress)
		require.LessOrEqual(t, len(replies[0].correlation), maxAddress)
	})
}

// A rejectBook rejects, and knows nothing else.
type rejectBook struct{ amqp.Acknowledger }

func (*rejectBook) Reject(uint64, bool) error { return nil }
