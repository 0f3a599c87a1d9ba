package amqpconn

import (
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// The checks of a channel without confirms find out how many of its messages have
// arrived: the broker answers a question when it has seen to what came before. That costs
// it nothing for each message.
type checks struct {
	ask     func()          // asks the question, and waits for its answer
	gone    <-chan struct{} // closed when nobody answers any more
	running sync.WaitGroup  // the questions that are being asked, or will be

	mu      sync.Mutex // protects following
	stopped bool       // no more questions
	pending bool       // a question will be asked
	last    time.Time  // when the last one was asked
}

// checkPause is between two questions.
const checkPause = 100 * time.Millisecond

// start asks a question soon, at least checkPause after the one before. It comes after all
// that was published.
func (c *checks) start() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped || c.pending {
		return
	}
	c.pending = true
	wait := time.Until(c.last.Add(checkPause))
	c.running.Go(func() {
		if wait > 0 && !link.Wait(wait, c.gone) {
			return
		}
		c.begin()
		c.ask()
	})
}

// begin notes that a question is being asked. What is published from now on is for the
// next one.
func (c *checks) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending, c.last = false, time.Now()
}

// stop lets no more questions be asked but those that are on their way.
func (c *checks) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
}
