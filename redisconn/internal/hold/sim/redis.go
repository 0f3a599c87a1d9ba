package sim

import (
	"errors"
	"slices"
	"time"
)

// A node is a Redis. It executes one command at a time. Two commands are executed at least a
// microsecond apart, so that no two have the same TIME, of which names are made.
type node struct {
	h *history
	store
	offset  time.Duration // of its clock from virtual time
	free    time.Duration // nothing is executed before
	epoch   int           // how often it was restarted
	down    bool
	full    bool    // it has no memory left
	blocked []*call // the one that has waited longest first
}

var (
	errFull    = errors.New("OOM command not allowed")
	errRefused = errors.New("connection refused")
	errReset   = errors.New("connection reset")
	errTimeout = errors.New("i/o timeout")
)

// execution is how long a command takes.
const execution = 3 * time.Microsecond

// arrive executes a call as soon as the node is free.
func (r *node) arrive(c *call) {
	if r.down {
		c.fail(errRefused)
		return
	}
	c.epoch = r.epoch
	r.queue(c, c.begin)
}

// queue runs do when the node is free, unless a restart ends the call's connection first.
func (r *node) queue(c *call, do func()) {
	s := &r.h.schedule
	if s.now < r.free {
		// After a stall any connection may be read first.
		s.after(r.free-s.now+time.Duration(r.h.rng.IntN(200))*time.Microsecond, func() { r.queue(c, do) })
		return
	}
	if c.epoch != r.epoch {
		c.fail(errReset)
		return
	}
	r.free = s.now + execution
	r.store.now, r.store.time = s.now, s.now+r.offset
	do()
	r.serveBlocked()
}

// begin executes a call that has arrived: first its move, if it has one.
func (c *call) begin() {
	r := c.node
	if c.script == nil {
		c.executeCommand(c.command)
		return
	}
	if c.move == 0 {
		c.execute()
		return
	}
	if r.full {
		c.refused = errFull
		c.moved()
		return
	}
	if len(r.list(c.queue)) > 0 {
		c.moveOne()
		return
	}
	c.block(c.move)
}

// block makes the call wait at the node, for d at most.
func (c *call) block(d time.Duration) {
	r := c.node
	r.blocked = append(r.blocked, c)
	c.blocked = true
	r.h.after(d, func() {
		if c.unblock() {
			c.moved()
		}
	})
}

// unblock ends the wait of a call, and reports whether the call waited.
func (c *call) unblock() bool {
	if !c.blocked {
		return false
	}
	c.blocked = false
	r := c.node
	r.blocked = slices.DeleteFunc(r.blocked, func(other *call) bool { return other == c })
	return true
}

// moved executes the script that follows a move in the same pipeline.
func (c *call) moved() {
	if c.script == nil { // it is a pop that found nothing
		c.answer(nil)
		return
	}
	c.node.h.after(execution, func() { c.node.queue(c, c.execute) })
}

// serveBlocked serves the calls that wait, while requests are queued.
func (r *node) serveBlocked() {
	for len(r.blocked) > 0 {
		c := r.blocked[0]
		if len(r.list(c.queue)) == 0 {
			return
		}
		c.unblock()
		if c.script == nil {
			c.executeCommand(c.command)
			continue
		}
		c.moveOne()
	}
}

// moveOne makes a call's move.
func (c *call) moveOne() {
	r := c.node
	command := []string{"LMOVE", c.queue, c.into, "RIGHT", "LEFT"}
	body := r.do(command)
	r.h.keep(r, Step{Command: command, Reply: body})
	r.h.note(c, "moved", body)
	r.h.compare(c, "move")
	c.moves = true
	c.moved()
}

// execute executes a call's script.
func (c *call) execute() {
	h := c.node.h
	h.scripts++
	c.keys = h.flaw.keys(c)
	c.run(func() any { return h.machine.run(&c.node.store, h.flaw, c.script, c.keys, c.args) })
}

func (c *call) executeCommand(command []string) {
	r := c.node
	switch name := command[0]; {
	case name == "BRPOP" && len(r.list(command[1])) == 0:
		c.queue = command[1]
		c.block(c.move)
	case name == "BRPOP":
		c.command = []string{"RPOP", command[1]}
		c.run(func() any { return r.do(c.command) })
	case r.full && (name == "LPUSH" || name == "RPUSH"):
		c.answer(errFull)
	default:
		c.run(func() any { return r.do(command) })
	}
}

// run executes a call by do, checks what that has changed, and answers the call.
func (c *call) run(do func() any) {
	h := c.node.h
	h.before(c)
	reply := do()
	h.keep(c.node, Step{Script: c.script, Keys: c.keys, Args: c.args, Command: c.command, Reply: reply})
	h.note(c, "executed", reply)
	h.executed(c, reply)
	c.answer(reply)
}

// restart ends all connections. The node is down for d. It keeps its data.
func (r *node) restart(d time.Duration) {
	r.epoch++
	r.down = true
	for _, c := range slices.Clone(r.blocked) {
		c.unblock()
		c.fail(errReset)
	}
	r.h.after(d, func() { r.down = false })
}

// stall makes the node execute nothing for d.
func (r *node) stall(d time.Duration) { r.free = max(r.free, r.h.now+d) }
