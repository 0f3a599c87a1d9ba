package amqpconn

import (
	"sync"
	"time"
)

// A tally counts what was written to a channel in the last second or two: of that
// it is not known whether it arrived before the broker closed the channel.
type tally struct {
	mu          sync.Mutex // protects following
	since       time.Time  // of now
	before, now int
}

const tallyTime = time.Second

func (t *tally) add(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shift()
	t.now += n
}

func (t *tally) recent() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shift()
	return t.before + t.now
}

// shift is called with t.mu held.
func (t *tally) shift() {
	switch age := time.Since(t.since); {
	case age >= 2*tallyTime:
		t.before, t.now, t.since = 0, 0, time.Now()
	case age >= tallyTime:
		t.before, t.now, t.since = t.now, 0, time.Now()
	}
}
