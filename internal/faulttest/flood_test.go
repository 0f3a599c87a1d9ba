package faulttest

import (
	"context"
	"fmt"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

const (
	brokenMessages = 100_000
	goodCalls      = 10_000
	floodTime      = 5 * time.Minute
	mostHeap       = 64 << 20 // by which the heap may grow
)

// broken are messages that are no requests, or calls that can't be run.
var broken = []string{
	"",
	"not JSON",
	"\xff\xfe\x00",
	"{",
	"[]",
	"[1,2,3]",
	`"text"`,
	`{"jsonrpc":"1.0","method":"Ledger.Run","id":"nobody"}`,
	`{"jsonrpc":"2.0","method":5,"id":1,"reply_to":"nobody"}`,
	`{"jsonrpc":"2.0","method":"Nobody.Home","id":7,"reply_to":"nobody"}`,
	`{"jsonrpc":"2.0","method":"Ledger.Run","params":"wrong","id":"nobody"}`,
	`{"jsonrpc":"2.0","method":"Ledger.Run","params":{"N":"wrong"}}`,
	`{"jsonrpc":"2.0","method":"Nobody.Home","id":"` + strings.Repeat("x", 300) + `"}`,
	`{"jsonrpc":"2.0","result":1,"id":"nobody"}`,
	`{"jsonrpc":"2.0","method":"Nobody.Home","id":7,"reply_to":"` + queue + `"}`,
	strings.Repeat("[", 1_000),
	strings.Repeat(`{"a":`, 1_000),
}

func TestRedisFlood(t *testing.T) {
	slow(t)
	s := newRedisSite(t, brokertest.StartRedis(t))
	testFlood(t, "Redis: 100,000 broken messages amid 10,000 calls", s, func(messages []string) {
		args := []any{"lpush", queue}
		for _, message := range messages {
			args = append(args, message)
		}
		s.do(t, args...)
	})
}

func TestRabbitMQFlood(t *testing.T) {
	slow(t)
	s := newRabbitSite(t, brokertest.SharedRabbitMQ(t))
	conn, err := amqp.Dial(s.url)
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	testFlood(t, "RabbitMQ: 100,000 broken messages amid 10,000 calls", s, func(messages []string) {
		for i, message := range messages {
			msg := amqp.Publishing{Body: []byte(message)}
			if i%2 == 0 {
				msg.ReplyTo = "nobody"
			}
			require.NoError(t, ch.PublishWithContext(context.Background(), "", s.queue, false, false, msg))
		}
	})
}

// testFlood sends broken messages between calls. All calls are answered, and the memory of both
// ends is bounded.
func testFlood(t *testing.T, name string, s site, send func(messages []string)) {
	const share = 500 // of the messages, sent at once
	tr := &trial{name: name, site: s, timeout: floodTime, idle: true}
	tr.prepare(t, true)
	tr.callers, tr.pause, tr.limit = 64, 0, goodCalls
	before := heapInUse()
	most := before
	look := func() { most = max(most, heapInUse()) }
	tr.note = func(tally) string { return fmt.Sprintf("heap grew by %d MiB at most", (most-before)>>20) }
	tr.start()
	messages := make([]string, share)
	for sent := 0; sent < brokenMessages; sent += share {
		for i := range messages {
			messages[i] = broken[(sent+i)%len(broken)]
		}
		send(messages)
		look()
	}
	require.Eventually(t, func() bool {
		look()
		waiting, err := s.waiting()
		return err == nil && waiting == 0 && tr.answered.Load()+tr.failed.Load() == goodCalls
	}, floodTime, 20*time.Millisecond)
	tr.finish(t)
	require.Less(t, most, before+mostHeap, "bytes of heap")
}

// heapInUse returns the bytes of all objects, also of dead ones that are not yet swept.
func heapInUse() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
