package amqpconn

import (
	"sync"
	"time"
)

// answerAcks acknowledge the answers that a client has read. Only the broker's
// prefetch needs that, for an answer is of no use to anybody else: many are
// acknowledged at once, and a lone call is spared the message.
type answerAcks struct {
	channel interface {
		Ack(tag uint64, multiple bool) error
	}

	mu    sync.Mutex // protects following
	last  uint64     // tag of the last answer
	count int        // answers that are not acknowledged
	bytes int        // in them
}

const (
	// replyPrefetch is how many answers may be on their way and not
	// acknowledged: a server that floods its client is held up.
	replyPrefetch = 512

	// What was read and the broker still keeps, at most.
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

// few acknowledges what has not come to many. It is to be called every
// maxUnackedTime.
func (a *answerAcks) few() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acknowledge()
}

// acknowledge is called with a.mu held. If it fails the channel is gone, and the
// queue with it.
func (a *answerAcks) acknowledge() {
	if a.count > 0 {
		_ = a.channel.Ack(a.last, true)
	}
	a.count, a.bytes = 0, 0
}
