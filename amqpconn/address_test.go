package amqpconn_test

import (
	"context"
	"crypto/rand"
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

// add is a request of a foreign client.
func add(id string) string {
	return fmt.Sprintf(`{"id":%s,"jsonrpc":"2.0","method":"add","params":[1,5.1]}`, id)
}

// six is the answer to add.
func six(id string) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":6.1}`, id) }

func TestReplyAddress(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := serve(t, s, nil)
	ch := s.channel(t)
	named, byName := replyQueue(t, ch, rand.Text())
	own, byBroker := replyQueue(t, ch, "")
	long, byLong := replyQueue(t, ch, rand.Text()+strings.Repeat("x", 255-26))
	id := fmt.Sprintf("%q", named)
	for _, test := range []struct {
		name, replyTo, correlation, request string
		deliveries                          <-chan amqp.Delivery
		wantCorrelation, reply              string
	}{
		{"reply_to", own, "c", add("1"), byBroker, "c", six("1")},
		{"reply_to before id", own, "c", add(id), byBroker, "c", six(id)},
		{"reply_to and no correlation", own, "", add(`"1"`), byBroker, "1", six(`"1"`)},
		{"reply_to of a name", named, "c", add("1"), byName, "c", six("1")},
		{"id", "", "", add(id), byName, named, six(id)},
		{"id and a correlation", "", "c", add(id), byName, "c", six(id)},
		{"member reply_to is nothing here", "", "", strings.Replace(add(id), "{", `{"reply_to":"there",`, 1), byName, named, six(id)},
		{"255 bytes", long, "", add("1"), byLong, "", six("1")},
		{"batch by its first string id", "", "", "[" + add("1") + "," + add(id) + "]", byName, named, `"result":6.1}`},
		{"batch by reply_to", own, "c", "[" + add("1") + "," + add("2") + "]", byBroker, "c", `"result":6.1}`},
		{"broken", own, "c", `{"id":"1"`, byBroker, "c", `"id":null,"error":{"code":-32700`},
	} {
		s.publish(t, ch, amqp.Publishing{ReplyTo: test.replyTo, CorrelationId: test.correlation, Body: []byte(test.request)})
		d := take(t, test.deliveries)
		require.Equal(t, test.wantCorrelation, d.CorrelationId, test.name)
		require.Equal(t, "application/json", d.ContentType, test.name)
		require.Contains(t, string(d.Body), test.reply, test.name)
	}
	w.End(t)
	servicetest.EventuallyEqual(t, amqpconn.ServerStats{Requests: 11, Replies: 11}, w.conn.Stats)
}

// RabbitMQ's own way to be answered without a queue.
func TestDirectReplyTo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	serve(t, s, nil)
	ch := s.channel(t)
	const direct = "amq.rabbitmq.reply-to"
	deliveries, err := ch.Consume(direct, "", true, false, false, false, nil)
	require.NoError(t, err)
	s.publish(t, ch, amqp.Publishing{ReplyTo: direct, CorrelationId: "c", Body: []byte(add("1"))})
	d := take(t, deliveries)
	require.Equal(t, six("1"), string(d.Body))
	require.Equal(t, "c", d.CorrelationId)
}

// A stranger's request that nobody could be answered for does no harm, is not
// run where it expects an answer, and is acknowledged.
func TestUnusableAddress(t *testing.T) {
	t.Parallel()
	type counts = amqpconn.ServerStats
	const count = `{"jsonrpc":"2.0","id":1,"method":"Counter.Count"}`
	const notification = `{"jsonrpc":"2.0","method":"Counter.Count"}`
	for _, test := range []struct {
		name, replyTo, request string // $ stands for the queue
		want                   counts
		runs                   int64
	}{
		{"number id", "", count, counts{NoAddress: 1}, 0},
		{"null id", "", strings.Replace(count, "1", "null", 1), counts{NoAddress: 1}, 0},
		{"256 bytes", "", strings.Replace(count, "1,", `"`+strings.Repeat("x", 256)+`",`, 1), counts{NoAddress: 1}, 0},
		{"giant id", "", strings.Replace(count, "1,", `"`+strings.Repeat("x", 1<<20)+`",`, 1), counts{NoAddress: 1}, 0},
		{"batch of number ids", "", "[" + count + "," + count + "]", counts{NoAddress: 1}, 0},
		{"garbage", "", "-{garbage", counts{NoAddress: 1}, 0},
		{"NULs", "", strings.Repeat("\x00", 1000), counts{NoAddress: 1}, 0},
		{"nothing", "", "", counts{NoAddress: 1}, 0},
		{"empty batch", "", "[]", counts{NoAddress: 1}, 0},
		{"deep nesting", "", strings.Repeat("[", 100_000), counts{NoAddress: 1}, 0},
		{"its queue by property", "$", count, counts{Refused: 1}, 0},
		{"its queue by id", "", strings.Replace(count, "1,", `"$",`, 1), counts{Refused: 1}, 0},
		{"result", "gone", `{"jsonrpc":"2.0","id":"1","result":6.1}`, counts{}, 0},
		{"error", "gone", `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}`, counts{}, 0},
		{"batch of responses", "gone", `[{"jsonrpc":"2.0","id":"1","result":6.1}]`, counts{}, 0},
		{"notification", "", notification, counts{}, 1},
		{"notification with an address", "gone", notification, counts{}, 1},
		{"notification with a bad address", "$", notification, counts{}, 1},
		{"nobody waits", "gone", count, counts{Replies: 1, Undelivered: 1}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			var log servicetest.LogBook
			counter := new(servicetest.Counter)
			w := serveWith(t, s, nil, jsonrpc2.ServerOptions{Logger: log.Logger()}, counter)
			ch := s.channel(t)
			test.request = strings.Replace(test.request, "$", s.queue, 1)
			s.publish(t, ch, amqp.Publishing{
				ReplyTo: strings.Replace(test.replyTo, "$", s.queue, 1),
				Body:    []byte(test.request),
			})
			own, answers := replyQueue(t, ch, "")
			s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("2"))})
			require.Equal(t, six("2"), string(take(t, answers).Body))
			servicetest.Eventually(t, func() bool { return w.conn.Stats().Undelivered == test.want.Undelivered })
			w.End(t)

			test.want.Requests, test.want.Replies = 2, test.want.Replies+1
			servicetest.EventuallyEqual(t, test.want, w.conn.Stats)
			require.Equal(t, test.runs, counter.N.Load())
			if test.runs == 0 || test.want.Undelivered > 0 {
				require.Equal(t, 1, log.Count("level=WARN"), &log)
			}
			s.requireWaiting(t, 0)
		})
	}
}

// Another service's queue may be named as a reply queue: it gets the response,
// which its servers drop, and nothing more comes of it.
func TestReplyToAnotherQueue(t *testing.T) {
	t.Parallel()
	s, other := newSite(t), newSite(t)
	w, otherWorker := serve(t, s, nil), serve(t, other, nil)
	ch := s.channel(t)
	s.publish(t, ch, amqp.Publishing{ReplyTo: other.queue, Body: []byte(add("1"))})
	servicetest.Eventually(t, func() bool { return otherWorker.conn.Stats().Requests == 1 })
	dial(t, s, nil, 0).requireAdds(t)
	dial(t, other, nil, 0).requireAdds(t)
	servicetest.EventuallyEqual(t, amqpconn.ServerStats{Requests: 2, Replies: 2}, w.conn.Stats)
	servicetest.EventuallyEqual(t, amqpconn.ServerStats{Requests: 2, Replies: 1}, otherWorker.conn.Stats)
}

// A server that floods its client is held up by the broker.
func TestFloodOfAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	ch := s.channel(t)
	requests, err := ch.Consume(s.queue, "", true, false, false, false, nil)
	require.NoError(t, err)
	conn := dialConn(t, s, amqpconn.DialOptions{})
	require.NoError(t, conn.WriteRequest(newRequest(add(`"1"`))))
	request := take(t, requests)

	const flood, unacknowledged = 5000, 512
	for range flood {
		require.NoError(t, ch.PublishWithContext(context.Background(), "", request.ReplyTo, false, false, amqp.Publishing{Body: []byte(six(`"2"`))}))
	}
	servicetest.Eventually(t, func() bool { // its own connection alone may look at the reply queue
		return strings.Contains(brokertest.SharedRabbitMQ(t).Queues("name", "messages_ready", "messages_unacknowledged"),
			fmt.Sprintf("%s\t%d\t%d\n", request.ReplyTo, flood-unacknowledged, unacknowledged))
	})
	for range flood {
		reply, err := conn.ReadReply(t.Context())
		require.NoError(t, err)
		require.Equal(t, six(`"2"`), string(reply.Body))
	}
}
