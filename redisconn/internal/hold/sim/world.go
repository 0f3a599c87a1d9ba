package sim

import (
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A world is a server's hold.World. Its methods are called by tasks, which run one at a time.
type world struct {
	*server
}

func (w world) Now() time.Duration { return w.h.now }

func (w world) NewSignal() hold.Signal { return new(signal) }

func (w world) Wait(s hold.Signal, d time.Duration) { w.process.wait(s.(*signal), d) }

func (w world) Go(f func()) { w.spawn(f) }

func (w world) Do(path hold.Path, c hold.Command) (any, error) {
	w.h.flaw.rewrite(&c)
	if w.h.flaw.onePath() {
		w.lock()
		defer w.unlock()
	}
	timeout, retries := w.h.readTimeout+c.Move, w.h.retries
	switch {
	case path == hold.Beating:
		timeout, retries = hold.BeatTime(w.lease), 0
	case c.Move > 0:
		retries = 0
	}
	return w.h.do(func() *call { return w.call(path, c) }, timeout, retries)
}

func (w world) call(path hold.Path, c hold.Command) *call {
	call := &call{
		from: w.process, node: w.h.redis, name: c.Script.Name, path: path,
		script: c.Script, keys: c.Keys, args: c.Args,
		move: c.Move, queue: c.Queue, into: c.Into,
	}
	if c.Move > 0 {
		w.mover = call
	}
	return call
}

// Unblock ends the move that blocks at the node. The command for that travels, too, and may get
// lost.
func (w world) Unblock() {
	c := w.mover
	if c == nil || w.h.mayNotUnblock {
		return
	}
	fate := w.h.fateOf(&call{from: w.process, name: "unblock", path: hold.Mending})
	if fate.lost == lostBefore || w.isCut(hold.Mending) {
		return
	}
	w.h.after(fate.there, func() {
		if c.unblock() {
			w.h.note(c, "unblocked")
			c.moved()
		}
	})
}

// lock makes a command wait until the one before it has ended.
func (s *server) lock() {
	for s.locked {
		s.wait(&s.unlocked, time.Hour)
	}
	s.locked = true
}

func (s *server) unlock() {
	s.locked = false
	s.unlocked.Set()
}
