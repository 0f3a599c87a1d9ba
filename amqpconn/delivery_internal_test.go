package amqpconn

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// In whatever order the answers come, each request is acknowledged once, and none before its
// answer. The broker accepts all acknowledgements.
func TestAcknowledge(t *testing.T) {
	t.Parallel()
	const requests = 200
	for name, order := range map[string]func(tags []uint64){
		"in order":  func([]uint64) {},
		"backwards": slices.Reverse[[]uint64],
		"shuffled":  shuffle,
		"nearly in order": func(tags []uint64) {
			for some := range slices.Chunk(tags, 8) {
				shuffle(some)
			}
		},
		"first last": func(tags []uint64) {
			copy(tags, tags[1:])
			tags[len(tags)-1] = 1
		},
	} {
		for _, group := range []int{1, 7, requests} {
			t.Run(fmt.Sprint(name, " by ", group), func(t *testing.T) {
				t.Parallel()
				h := newHolding(t, requests)
				tags := slices.Collect(h.tags())
				order(tags)
				for some := range slices.Chunk(tags, group) {
					h.acknowledge(some...)
					h.requireAcknowledged(t, some...)
				}
				h.requireLeft(t, 0)
				require.EqualValues(t, requests, h.acks.upTo)
				require.Empty(t, h.acks.ahead)
			})
		}
	}
}

// Requests that are answered in order are acknowledged in one go.
func TestAcknowledgeInOneGo(t *testing.T) {
	t.Parallel()
	h := newHolding(t, 100)
	h.acknowledge(3, 1, 2, 5, 6, 4)
	require.Equal(t, []acknowledgement{{6, true}}, h.wire.acknowledged())
	h.acknowledge(9, 7, 10)
	require.Equal(t, []acknowledgement{{9, false}, {10, false}, {7, true}}, h.wire.acknowledged())
	h.acknowledge(8, 11)
	require.Equal(t, []acknowledgement{{11, true}}, h.wire.acknowledged())
	h.requireLeft(t, 89)
}

// A request that was rejected or given back is not acknowledged with the others, and does not
// keep them from being acknowledged.
func TestAcknowledgeAroundOthers(t *testing.T) {
	t.Parallel()
	h := newHolding(t, 10)
	h.acks.reject(h.deliveries[3])
	h.acknowledge(1, 2, 4)
	require.Equal(t, []acknowledgement{{4, true}}, h.wire.acknowledged())
	require.NoError(t, h.deliveries[6].Nack(false, true)) // as in a drain
	h.acknowledge(5, 7, 10)
	h.acknowledge(8, 9)
	require.Equal(t, []acknowledgement{{7, false}, {10, false}, {5, true}, {8, false}, {9, false}}, h.wire.acknowledged())
	h.requireLeft(t, 1)
}

// A request is acknowledged on its own connection, or not at all if that is gone.
func TestAcknowledgeOnItsOwnConnection(t *testing.T) {
	t.Parallel()
	old, current := newHolding(t, 3), newHolding(t, 5)
	require.NoError(t, old.conn.Close())
	acknowledge([]delivery{old.deliveries[1], current.deliveries[1], {}, old.deliveries[2], current.deliveries[3]})
	require.Equal(t, []acknowledgement{{1, true}, {3, false}}, current.wire.acknowledged())
	current.requireLeft(t, 3)
	old.requireLeft(t, 3)
}

func shuffle(tags []uint64) {
	rand.Shuffle(len(tags), func(i, j int) { tags[i], tags[j] = tags[j], tags[i] })
}

// A holding is a connection to which requests are delivered.
type holding struct {
	acks       *requestAcks
	queue      string
	deliveries map[uint64]delivery
	conn       *amqp.Connection
	wire       *tap
	held       map[uint64]bool // the tags that are not acknowledged, as the broker would have them
}

// newHolding returns a connection to which so many requests were delivered.
func newHolding(t *testing.T, requests int) *holding {
	t.Helper()
	h := &holding{queue: link.NewName(), deliveries: make(map[uint64]delivery), held: make(map[uint64]bool)}
	h.acks = newRequestAcks(nil, nil)
	var err error
	h.conn, err = amqp.DialConfig(brokertest.SharedRabbitMQ(t).URL(), amqp.Config{
		Dial: func(network, addr string) (net.Conn, error) {
			conn, err := net.DialTimeout(network, addr, time.Minute)
			h.wire = &tap{Conn: conn, skip: len("AMQP0091")}
			h.acks.wire = newWire(h.wire)
			return h.acks.wire, err
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = h.conn.Close() })
	ch, err := h.conn.Channel()
	require.NoError(t, err)
	h.acks.ch = ch
	_, err = ch.QueueDeclare(h.queue, false, false, false, false, amqp.Table{"x-expires": int32(60_000)})
	require.NoError(t, err)
	for range requests {
		require.NoError(t, ch.PublishWithContext(context.Background(), "", h.queue, false, false, amqp.Publishing{}))
	}
	deliveries, err := ch.Consume(h.queue, "", false, false, false, false, nil)
	require.NoError(t, err)
	for range requests {
		d := <-deliveries
		h.deliveries[d.DeliveryTag] = delivery{Delivery: d, acks: h.acks}
		h.held[d.DeliveryTag] = true
	}
	return h
}

// tags returns the tags of the requests, in their order.
func (h *holding) tags() func(yield func(uint64) bool) {
	return slices.Values(slices.Sorted(func(yield func(uint64) bool) {
		for tag := range h.held {
			if !yield(tag) {
				return
			}
		}
	}))
}

func (h *holding) acknowledge(tags ...uint64) {
	var requests []delivery
	for _, tag := range tags {
		requests = append(requests, h.deliveries[tag])
	}
	acknowledge(requests)
}

// requireAcknowledged requires that the last acknowledgements are for these requests,
// each once, and for no others.
func (h *holding) requireAcknowledged(t *testing.T, tags ...uint64) {
	t.Helper()
	var acknowledged []uint64
	for _, ack := range h.wire.acknowledged() {
		require.True(t, h.held[ack.tag], "the broker does not hold %d", ack.tag)
		for tag := range h.held {
			if tag == ack.tag || ack.multiple && tag < ack.tag {
				acknowledged = append(acknowledged, tag)
				delete(h.held, tag)
			}
		}
	}
	require.ElementsMatch(t, tags, acknowledged)
}

// requireLeft closes the connection and requires that so many requests come
// back.
func (h *holding) requireLeft(t *testing.T, requests int) {
	t.Helper()
	closed := h.acks.ch.NotifyClose(make(chan *amqp.Error, 1))
	_ = h.conn.Close()
	require.Nil(t, <-closed, "the broker has nothing to object to")
	conn, err := amqp.Dial(brokertest.SharedRabbitMQ(t).URL())
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		q, err := ch.QueueDeclarePassive(h.queue, false, false, false, false, nil)
		return err == nil && q.Messages == requests
	}, 30*time.Second, 5*time.Millisecond)
}

// A tap sees the acknowledgements that go over a connection.
type tap struct {
	net.Conn
	skip int // bytes before the first frame
	buf  []byte

	mu   sync.Mutex // protects following
	acks []acknowledgement
}

type acknowledgement struct {
	tag      uint64
	multiple bool
}

// Write implements net.Conn. A wire orders its calls.
func (t *tap) Write(p []byte) (int, error) {
	const (
		header = 7 // kind, channel, size
		method = 1
		ack    = 60<<16 | 80 // basic.ack
	)
	t.buf = append(t.buf, p[min(t.skip, len(p)):]...)
	t.skip -= min(t.skip, len(p))
	for len(t.buf) > header {
		end := header + int(binary.BigEndian.Uint32(t.buf[3:]))
		if len(t.buf) <= end {
			break
		}
		if payload := t.buf[header:end]; t.buf[0] == method && binary.BigEndian.Uint32(payload) == ack {
			t.mu.Lock()
			t.acks = append(t.acks, acknowledgement{binary.BigEndian.Uint64(payload[4:]), payload[12] == 1})
			t.mu.Unlock()
		}
		t.buf = t.buf[end+1:]
	}
	return t.Conn.Write(p)
}

// acknowledged returns the acknowledgements since the last call.
func (t *tap) acknowledged() (acks []acknowledgement) {
	t.mu.Lock()
	defer t.mu.Unlock()
	acks, t.acks = t.acks, nil
	return acks
}
