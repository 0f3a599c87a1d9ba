package amqpconn

import (
	"strconv"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A delivery is a request as the broker delivered it.
type delivery struct {
	amqp.Delivery
	acks     *requestAcks // of the channel it came on; nil if the request is acknowledged
	deadline time.Time    // when its caller gives up; zero if that is not known
}

// isPoison returns how often a request was delivered before, and reports whether that is too
// often: limit or more. There is no limit if limit is not positive.
func (d *delivery) isPoison(limit int) (count int64, poison bool) {
	count, _ = d.Headers["x-delivery-count"].(int64)
	return count, limit > 0 && count >= int64(limit)
}

// deadlineOf returns when a request that came now expires; zero if that is not known.
// expiration is the property of that name, in milliseconds. 0 only says that the request has
// to be delivered at once: how long its caller waits is not known.
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

// requestAcks acknowledge, reject and requeue the requests of one channel. Delivery tags
// count its requests from 1.
type requestAcks struct {
	ch   *amqp.Channel
	wire *wire

	mu    sync.Mutex      // protects following
	upTo  uint64          // the requests with tags up to this one are done with
	ahead map[uint64]bool // the tags of later requests that are done with
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

// acknowledge acknowledges requests. One acknowledgement is for all those before which no
// request still runs. The others have one each. A failed connection does not matter: the
// broker delivers again what is not acknowledged.
func (a *requestAcks) acknowledge(requests []delivery) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.advance(requests...)
	a.wire.hold()
	defer a.wire.release()
	// The tag of the last of these requests that is not ahead. It is not always upTo: that
	// one may have been acknowledged before, and the broker no longer knows its tag.
	var last uint64
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

// advance adds requests that are done with, or about to be. It is called with a.mu held.
func (a *requestAcks) advance(requests ...delivery) {
	for _, d := range requests {
		a.ahead[d.DeliveryTag] = true
	}
	for a.ahead[a.upTo+1] {
		a.upTo++
		delete(a.ahead, a.upTo)
	}
}

// reject gives a request up: the broker moves it to the dead-letter exchange of the queue, if
// there is one, or drops it.
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
