package amqpconn

import (
	"sync"
	"time"
)

// answerAcks acknowledge the answers that a client has read. Nobody else can use an answer, so
// only the prefetch needs an acknowledgement. It can come late: one is for many answers, and a
// lone call does not pay for one.
type answerAcks struct {
	channel interface {
		Ack(tag uint64, multiple bool) error
	}

	mu    sync.Mutex // protects following
	last  uint64     // delivery tag of the last answer that was read
	count int        // answers that were read and are not acknowledged
	bytes int        // in the bodies of these
}

const (
	// replyPrefetch is how many answers the broker delivers before it waits for an
	// acknowledgement: it holds up a server that floods its client.
	replyPrefetch = 512

	// At one of these limits the answers that were read are acknowledged.
	maxUnacked      = replyPrefetch / 2 // answers
	maxUnackedBytes = 64 << 10
	maxUnackedTime  = 10 * time.Second // RabbitMQ's consumer_timeout is half an hour by default
)

// add adds an answer that was read.
func (a *answerAcks) add(tag uint64, bytes int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = tag
	a.count++
	a.bytes += bytes
	if a.count >= maxUnacked || a.bytes >= maxUnackedBytes {
		a.acknowledge()
	}
}

// few acknowledges answers that are too few for add to do so. The receiver calls it every
// maxUnackedTime.
func (a *answerAcks) few() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acknowledge()
}

// acknowledge acknowledges all answers that were read. It is called with a.mu held. If it
// fails, the channel is gone, and the queue with it.
func (a *answerAcks) acknowledge() {
	if a.count > 0 {
		_ = a.channel.Ack(a.last, true)
	}
	a.count, a.bytes = 0, 0
}
