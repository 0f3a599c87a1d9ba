package amqpconn

import (
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A delivery is a request, and what acknowledges it on the channel it came on: nil if
// it is acknowledged.
type delivery struct {
	amqp.Delivery
	acks     *requestAcks
	deadline time.Time // of its caller; zero if it says none
}

// isPoison reports whether a request was delivered too often, and how often. There is
// no limit if it is not positive.
func (d *delivery) isPoison(limit int) (count int64, poison bool) {
	count, _ = d.Headers["x-delivery-count"].(int64)
	return count, limit > 0 && count >= int64(limit)
}

// deadlineOf returns when a request that came now has expired. 0 milliseconds
// say that a consumer has to be there, and nothing of the caller.
func deadlineOf(expiration string) (deadline time.Time) {
	if expiration == "" {
		return deadline
	}
	milliseconds, err := strconv.ParseUint(expiration, 10, 32) // RabbitMQ takes no more
	if err != nil || milliseconds == 0 {
		return deadline
	}
	return time.Now().Add(time.Duration(milliseconds) * time.Millisecond)
}

// requestAcks acknowledge, reject and requeue the requests of one channel.
type requestAcks struct {
	ch   *amqp.Channel
	wire *wire

	mu    sync.Mutex // protects following
	upTo  uint64     // all requests up to this one are done with
	ahead map[uint64]bool
}

func newRequestAcks(ch *amqp.Channel, w *wire) *requestAcks {
	return &requestAcks{ch: ch, wire: w, ahead: make(map[uint64]bool)}
}

// acknowledge acknowledges requests, each on its own channel.
func acknowledge(requests []delivery) {
	for len(requests) > 0 {
		acks, n := requests[0].acks, 1
		for n < len(requests) && requests[n].acks == acks {
			n++
		}
		if acks != nil {
			acks.acknowledge(requests[:n])
		}
		requests = requests[n:]
	}
}

// acknowledge acknowledges requests: with one acknowledgement all those before which
// none is still running, the others singly. A failed connection is no matter:
// the broker delivers again what it had not acknowledged.
func (a *requestAcks) acknowledge(requests []delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advance(requests...)
	a.wire.hold()
	defer a.wire.release()
	var last uint64 // of these requests up to upTo; the broker must know it still
	for _, d := range requests {
		if d.DeliveryTag <= a.upTo {
			last = max(last, d.DeliveryTag)
		} else {
			_ = a.ch.Ack(d.DeliveryTag, false)
		}
	}
	if last > 0 {
		_ = a.ch.Ack(last, true)
	}
}

// advance adds requests that are done with, or about to be.
func (a *requestAcks) advance(requests ...delivery) {
	for _, d := range requests {
		a.ahead[d.DeliveryTag] = true
	}
	for a.ahead[a.upTo+1] {
		a.upTo++
		delete(a.ahead, a.upTo)
	}
}

// reject gives a request up: it goes to the dead-letter exchange, if there is
// one.
func (a *requestAcks) reject(d delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advance(d)
	_ = d.Reject(false)
}

// requeue returns a request to its queue.
func (a *requestAcks) requeue(d delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advance(d)
	_ = d.Nack(false, true)
}
