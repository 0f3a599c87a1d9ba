package amqpconn_test

import (
	"context"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/heap"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

const limit = jsonrpc2.DefaultMaxMessageSize

// TestHostileRequests publishes what a hostile client can think of: it is
// answered, and the server serves on.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	w := serve(t, s, nil)
	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	const long = `{"id":1,"jsonrpc":"2.0","method":"add","params":[1,5.1],"a":"`
	items := func(item string) string { return `[{"id":"x"}` + strings.Repeat(","+item, 999) + `]` }
	for _, test := range []struct {
		name, request, answer string
		times                 int // so often is answer in it
	}{
		{"empty", ``, "-32700", 1},
		{"nesting", strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "nesting exceeds the limit of 500", 1},
		{"broken nesting", strings.Repeat(`{"a":[`, 100_000), "-32600", 1},
		{"NULs", strings.Repeat("\x00", 10_000), "-32700", 1},
		{"invalid UTF-8", `{"id":"` + strings.Repeat("\xff", 10_000) + `"}`, "-32700", 1},
		{"as long as may be", long + strings.Repeat("x", limit-len(long)-2) + `"}`, "6.1", 1},
		{"too long", long + strings.Repeat("x", limit) + `"}`, "exceeds the limit of 4194304 bytes", 1},
		{"empty values", `{"id":"","jsonrpc":"","method":"","params":{}}`, "-32600", 1},
		{"huge id", `{"id":"` + strings.Repeat("x", 1<<18) + `","jsonrpc":"2.0","method":"add","params":[1,5.1]}`, "6.1", 1},
		{"huge method", `{"id":1,"jsonrpc":"2.0","method":"` + strings.Repeat("x.", 1<<17) + `"}`, "-32601", 1},
		{"duplicate member", `{"id":1,"id":2,"jsonrpc":"2.0","method":"add","params":[1,5.1]}`, "-32600", 1},
		{"batch of garbage", items(`"x"`), "-32600", 1000},
		{"batch of batches", items(`[{"jsonrpc":"2.0","id":1,"method":"add"}]`), "-32600", 1000},
		{"batch of too many", items(`1,1`), "batch exceeds the limit of 1000 items", 1},
	} {
		s.publish(t, ch, amqp.Publishing{
			ReplyTo:         own,
			Body:            []byte(test.request),
			ContentType:     "text/\x00",
			ContentEncoding: "gzip",
			Type:            strings.Repeat("x", 255),
			Priority:        255,
			Headers:         amqp.Table{"x-delivery-count": "many", "x-death": []any{amqp.Table{"count": nil}}},
		})
		require.Equal(t, test.times, strings.Count(string(take(t, answers).Body), test.answer), test.name)
		s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("2"))})
		require.Equal(t, six("2"), string(take(t, answers).Body), test.name)
	}
	require.Zero(t, w.conn.Stats().Reconnects)
}

// A flood of messages as large as may be takes no more memory than Prefetch of
// them need, and a buffer or two, while methods hold their params. It runs beside
// no other test, as the memory is everybody's.
func TestFloodOfRequests(t *testing.T) {
	s := newSite(t)
	const prefetch, flood = 2, 8
	slow := servicetest.NewSlow()
	w := serve(t, s, &amqpconn.ListenOptions{Prefetch: prefetch, Logger: servicetest.Quiet}, servicetest.Hold{Slow: slow})
	defer slow.Open()
	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("1"))})
	require.Equal(t, six("1"), string(take(t, answers).Body))
	before := heap.Live()
	request := `{"jsonrpc":"2.0","id":1,"method":"Hold.Text","params":["` + strings.Repeat("x", limit-100) + `"]}`
	for range flood {
		s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(request)})
	}
	request = ""
	slow.RequireRunning(t, prefetch)
	s.requireWaiting(t, flood-prefetch)
	grown := heap.Live() - before
	t.Logf("%d bytes more for %d messages of %d", grown, prefetch, limit)
	require.Less(t, grown, (prefetch+3)*limit)
	slow.Open()
	for range flood {
		require.Contains(t, string(take(t, answers).Body), `"result":`)
	}
	servicetest.Eventually(t, func() bool { return heap.Live()-before < 4*limit }, "nothing is kept when all is answered")
	w.End(t)
}

// Strangers may make servers answer to one another's queues. A server drops an answer that
// comes to its queue, so no answer, error or not, makes another one.
func TestAnswersToAnotherServer(t *testing.T) {
	t.Parallel()
	s, other := newSite(t), newSite(t)
	w, otherWorker := serve(t, s, nil), serve(t, other, nil)
	ch := s.channel(t)
	requests := []string{
		add("1"), `{"jsonrpc":"2.0","id":1,"method":"gone"}`, `{"jsonrpc":"2.0","id":"1","method":"add","params":["x"]}`,
		`{"jsonrpc":"1.0","id":"1","method":"add"}`, `{"jsonrpc":"2.0","id":"1","method":`, `[]`,
		"[" + add("1") + `,1,{"jsonrpc":"2.0","id":"x","method":"gone"}]`,
	}
	for i, request := range requests {
		s.publish(t, ch, amqp.Publishing{ReplyTo: other.queue, Body: []byte(request)})
		other.publish(t, ch, amqp.Publishing{ReplyTo: s.queue, Body: []byte(request)})
		for _, w := range []*worker{w, otherWorker} { // its request, and the other's answer
			servicetest.Eventually(t, func() bool { return w.conn.Stats().Requests == int64(2*i+2) }, request)
		}
	}
	w.End(t)
	otherWorker.End(t)
	want := amqpconn.ServerStats{Requests: int64(2 * len(requests)), Replies: int64(len(requests))}
	servicetest.EventuallyEqual(t, want, w.conn.Stats)
	servicetest.EventuallyEqual(t, want, otherWorker.conn.Stats)
	s.requireWaiting(t, 0)
	other.requireWaiting(t, 0)
}

// A batch of a thousand slow calls occupies the server that took it: what was
// delivered to that server behind it, at most Prefetch - 1 messages, waits until
// all items have begun. Other servers answer the rest meanwhile. When places get
// free, everything is answered.
func TestGiantBatchHoldsUpItsServer(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	const places, items, calls = 4, 1000, 50
	slow := servicetest.NewSlow()
	codec := jsonrpc2.ServerOptions{MaxInFlight: places, Logger: servicetest.Quiet}
	serveWith(t, s, nil, codec, slow)
	ch := s.channel(t)
	batch, batches := replyQueue(t, ch, "")
	own, answers := replyQueue(t, ch, "")
	item := `,{"jsonrpc":"2.0","id":1,"method":"Slow.Wait","params":[1]}`
	s.publish(t, ch, amqp.Publishing{ReplyTo: batch, Body: []byte("[" + strings.Repeat(item, items)[1:] + "]")})
	slow.RequireRunning(t, places)
	serveWith(t, s, nil, codec)
	for range calls {
		s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("1"))})
	}
	for range calls - (places - 1) {
		require.Equal(t, six("1"), string(take(t, answers).Body))
	}
	require.EqualValues(t, places, slow.Running.Load())
	require.Zero(t, slow.Ran.Load())
	slow.Open()
	require.Equal(t, items, strings.Count(string(take(t, batches).Body), `"result":`))
	for range places - 1 {
		require.Equal(t, six("1"), string(take(t, answers).Body))
	}
}

// TestHostileReplies publishes to a client's reply queue what a hostile server
// can think of: calls are answered among all of it. What bears the correlation id
// of a request is its answer, whatever it is, and ends its call.
func TestHostileReplies(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	ch := s.channel(t)
	requests, err := ch.Consume(s.queue, "", true, false, false, false, nil)
	require.NoError(t, err)
	c, stranger := dial(t, s, nil, servicetest.Soon), dial(t, s, nil, servicetest.Soon)
	theirs := stranger.Go("Calc.Add", []float64{1, 2}, new(float64), nil)
	strangers := take(t, requests)
	reply := func(d amqp.Delivery, correlation, body string) {
		t.Helper()
		require.NoError(t, ch.PublishWithContext(context.Background(), "", d.ReplyTo, false, false,
			amqp.Publishing{CorrelationId: correlation, Body: []byte(body)}))
	}
	for name, text := range map[string]string{
		"empty":             ``,
		"NULs":              strings.Repeat("\x00", 10_000),
		"invalid UTF-8":     `{"id":"ID` + "\xff" + `"}`,
		"nesting":           strings.Repeat("[", 100_000),
		"closed nesting":    strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"too long":          strings.Repeat(" ", limit+1),
		"another's id":      `{"jsonrpc":"2.0","id":"` + strangers.CorrelationId + `","result":1}`,
		"our id in a batch": `[["ID"]]`,
		"batch of millions": "[1" + strings.Repeat(",1", limit/16) + "]",
		"odd error":         `{"jsonrpc":"2.0","id":"ID","error":{"code":"x","message":[]}}`,
		"request":           `{"jsonrpc":"2.0","id":"ID","method":"add","params":[1,2]}`,
	} {
		call := c.Go("Calc.Add", []float64{1, 5.1}, new(float64), nil)
		d := take(t, requests)
		odd := strings.ReplaceAll(text, "ID", d.CorrelationId)
		if name != "odd error" { // for which any correlation id will do
			reply(d, "", odd)
			reply(d, strangers.CorrelationId, odd)
		}
		reply(d, d.CorrelationId+"0", six(`"x"`))
		require.Empty(t, call.Done, name)
		reply(d, "", six(`"`+d.CorrelationId+`"`))
		<-call.Done
		require.NoError(t, call.Error, name)

		call = c.Go("Calc.Add", []float64{1, 5.1}, new(float64), nil)
		d = take(t, requests)
		reply(d, d.CorrelationId, strings.ReplaceAll(text, "ID", d.CorrelationId))
		<-call.Done
		require.Error(t, call.Error, name)
		require.NotContains(t, call.Error.Error(), jsonrpc2.ErrTimeout.Error(), name)
	}
	require.Empty(t, theirs.Done)
	reply(strangers, strangers.CorrelationId, six(`"`+strangers.CorrelationId+`"`))
	<-theirs.Done
	require.NoError(t, theirs.Error)
}
