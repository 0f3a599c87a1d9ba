package amqpconn

import (
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// The checks of a channel without confirms find out how many of its messages have arrived.
// Now and then they ask the broker a question. Its answer shows that all messages published
// before the question have arrived, and costs the broker nothing for each of them.
type checks struct {
	ask     func()          // asks the question, and waits for its answer
	gone    <-chan struct{} // closed when nobody answers any more
	running sync.WaitGroup  // the goroutines that wait to ask, or ask

	mu      sync.Mutex // protects following
	stopped bool       // no goroutine is started any more
	pending bool       // a goroutine waits to ask
	last    time.Time  // when the last question was asked
}

// checkPause is the least time between two questions.
const checkPause = 100 * time.Millisecond

// start asks a question soon, on a goroutine of its own, about all that was published. It
// does nothing if a question is about to be asked: that one comes after it, too.
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

// begin notes that a question is being asked. The next question is for what is published
// from now on.
func (c *checks) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending, c.last = false, time.Now()
}

// stop makes start do nothing. A question that is about to be asked is still asked, unless
// gone is closed.
func (c *checks) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
}
