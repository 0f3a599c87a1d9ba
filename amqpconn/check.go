package amqpconn

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// The checks of a channel find out how many of its messages have arrived: the
// broker answers a question when it has seen to what came before. It does so also
// without confirms, and that costs it nothing for each message.
type checks struct {
	ask  func()          // asks the question, and calls answer if it is answered
	gone <-chan struct{} // closed when nobody answers any more

	arrived  atomic.Int64   // messages that are known to have arrived
	answered chan struct{}  // receives if arrived may have risen
	running  sync.WaitGroup // the questions that are being asked, or will be

	mu      sync.Mutex // protects following
	stopped bool       // no more questions
	pending bool       // a question will be asked
	due     time.Time  // of it
	last    time.Time  // when the last one was asked
}

// checkPause is between two questions, unless somebody waits for the answer.
const checkPause = 100 * time.Millisecond

// start asks a question soon, at least a pause after the one before. It comes after
// all that was published.
func (c *checks) start(pause time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	due := c.last.Add(pause)
	if c.stopped || c.pending && !due.Before(c.due) {
		return
	}
	c.pending, c.due = true, due
	c.running.Go(func() {
		wait := time.Until(due)
		if wait > 0 && !link.Wait(wait, c.gone) || !c.isDue(due) {
			return
		}
		c.ask()
	})
}

// answer says how many messages have arrived. The answers come in the order of the
// questions.
func (c *checks) answer(arrived int64) {
	c.arrived.Store(arrived)
	link.Signal(c.answered)
}

// isDue reports whether the question that is due then has to be asked: not if
// another one was asked before.
func (c *checks) isDue(due time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.pending || c.due != due {
		return false
	}
	c.pending, c.last = false, time.Now()
	return true
}

// stop lets no more questions be asked but those that are on their way.
func (c *checks) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stopped = true
}
