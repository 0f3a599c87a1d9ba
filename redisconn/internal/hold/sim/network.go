package sim

import (
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A call is one try of a command: on its way, at the node, on its way back.
type call struct {
	from *process
	node *node
	name string // of the script, or of what a command is for
	path hold.Path

	script  *hold.Script // nil: the call is a plain command
	keys    []string     // of the script
	args    []any        // of the script
	command []string     // the plain command
	about   []*request   // the requests that the server means by the fields in it

	move        time.Duration // how long the move before the script, or a BRPOP, may block
	queue, into string        // of the move

	progress
}

// A progress is how far a call has come.
type progress struct {
	fate     fate
	number   int   // of the call in the history
	epoch    int   // of the node when the call arrived
	blocked  bool  // it blocks at the node
	moves    bool  // its move has moved something
	refused  error // why its move was refused; nil: it was not
	finished bool  // the sender has a result
	reply    any
	err      error
	task     *task // the sender's, which waits for the result
	park     int   // the task's park in which it waits
}

// A fate is what happens to a call.
type fate struct {
	there, back time.Duration // how long it travels
	lost        lost
	loud        bool // the sender learns of a loss at once, not only by its time-out
	closes      bool // after a time-out the node learns that the connection has ended
}

type lost int

const (
	arrives    lost = iota
	lostBefore      // it does not reach the node
	lostAfter       // it takes effect, and its reply is lost
)

// latency is how long a message travels at most if nothing is wrong.
const latency = 500 * time.Microsecond

// try sends a call once, and returns the reply, or the error if there is no reply within timeout.
// The running task waits meanwhile.
func (h *history) try(c *call, timeout time.Duration) (any, error) {
	c.fate = h.fateOf(c)
	h.calls++
	c.number = h.calls
	h.note(c, "sent")
	c.task = h.running
	c.park = c.task.prepare()
	h.after(c.fate.there, c.travel)
	c.from.after(timeout, func() {
		if c.finished {
			return
		}
		c.finish(nil, errTimeout)
		if c.fate.closes && c.unblock() {
			h.note(c, "unblocked by the end of its connection")
		}
	})
	c.task.park()
	return c.reply, c.err
}

// travel brings a call to its node, unless it is lost.
func (c *call) travel() {
	h := c.node.h
	switch {
	case c.fate.lost == lostBefore:
		c.lose()
	case c.isCut() && c.fate.loud:
		c.lose()
	case c.isCut(): // TCP sends it again when the cut ends
		h.after(c.from.cutUntil-h.now+h.travelTime(), c.travel)
	default:
		c.node.arrive(c)
	}
}

// isCut reports whether nothing passes between the sender and the node.
func (c *call) isCut() bool { return c.from.isCut(c.path) }

// lose ends a call that goes no further.
func (c *call) lose() {
	c.node.h.note(c, "lost")
	if c.fate.loud {
		c.fail(errReset)
	}
}

// answer sends the reply back. An error in it, or the refusal of the call's move, becomes the
// call's error.
func (c *call) answer(reply any) {
	h := c.node.h
	err, _ := reply.(error)
	if err != nil {
		reply = nil
		err = refusal{err}
	} else if c.refused != nil {
		err = refusal{c.refused}
	}
	switch {
	case c.fate.lost == lostAfter, c.isCut() && c.fate.loud:
		c.lose()
	case c.isCut():
		c.from.after(c.from.cutUntil-h.now+h.travelTime(), func() { c.finish(reply, err) })
	default:
		c.from.after(c.fate.back, func() { c.finish(reply, err) })
	}
}

// fail tells the sender that its connection failed.
func (c *call) fail(err error) {
	c.from.after(c.node.h.travelTime(), func() { c.finish(nil, err) })
}

// finish gives the sender the result of its call. Later results do nothing.
func (c *call) finish(reply any, err error) {
	if c.finished {
		return
	}
	c.finished = true
	c.reply, c.err = reply, err
	if err != nil {
		c.node.h.note(c, err.Error())
	}
	c.task.run(c.park)
}

// A refusal is an error that Redis has answered with.
type refusal struct{ error }

func isRefusal(err error) bool {
	_, ok := err.(refusal)
	return ok
}

// do sends a call until it is answered, and again up to so many times, as go-redis does. make
// makes the call of each try.
func (h *history) do(make func() *call, timeout time.Duration, retries int) (any, error) {
	for try := 0; ; try++ {
		c := make()
		reply, err := h.try(c, timeout)
		if err == nil || isRefusal(err) || try >= retries {
			return reply, err
		}
		c.from.sleep(time.Duration(8+h.rng.IntN(8<<try)) * time.Millisecond)
	}
}
