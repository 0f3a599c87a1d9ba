package amqpconn

import (
	"sync"
	"time"
)

// A tally counts the messages that were written to a channel in the last second or two.
// When the broker closes the channel, these are the ones that may not have arrived.
type tally struct {
	mu          sync.Mutex // protects following
	since       time.Time
	before, now int // messages that were written just before since, and after it
}

// tallyTime is after how long now becomes before.
const tallyTime = time.Second

func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shift()
	t.now += n
}

// recent returns how many messages were written lately.
func (t *tally) recent() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shift()
	return t.before + t.now
}

// shift begins a new count if the last one is old. It is called with t.mu held.
func (t *tally) shift() {
	switch age := time.Since(t.since); {
	case age >= 2*tallyTime:
		t.before, t.now, t.since = 0, 0, time.Now()
	case age >= tallyTime:
		t.before, t.now, t.since = t.now, 0, time.Now()
	}
}
