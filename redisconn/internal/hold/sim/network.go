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

	script  *hold.Script // nil: a command
	keys    []string
	args    []any
	command []string
	about   []*request // what the server takes its fields for

	move        time.Duration // for how long it may block
	queue, into string

	progress
}

// A progress is how far a call has come.
type progress struct {
	fate     fate
	number   int // of the call in the history
	epoch    int
	blocked  bool
	moves    bool  // its move has moved something
	refused  error // its move was
	finished bool  // at the sender's
	reply    any
	err      error
	task     *task // waits for it
	park     int
}

// A fate is what happens to a call.
type fate struct {
	there, back time.Duration
	lost        lost
	loud        bool // the sender learns of the loss at once, and not by its time-out
	closes      bool // its connection's end reaches the node, after a time-out
}

type lost int

const (
	arrives lost = iota
	lostBefore
	lostAfter // it has taken effect
)

// latency is how long a message travels at most if nothing is wrong.
const latency = 500 * time.Microsecond

// try sends a call once, and returns the reply or why there is none within timeout.
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

// travel brings a call to its node.
func (c *call) travel() {
	h := c.node.h
	switch {
	case c.fate.lost == lostBefore:
		c.lose()
	case c.isCut() && c.fate.loud:
		c.lose()
	case c.isCut(): // TCP sends it again later
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

// answer sends the reply.
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

// finish hands the sender what came of its call, the first time.
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

// do sends a call until it is answered, as often as go-redis tries.
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
