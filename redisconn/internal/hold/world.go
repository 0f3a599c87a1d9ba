package hold

import "time"

// A World is what a Worker acts on. A Worker starts goroutines and waits only through its World,
// so that a simulator can run its loops. Any goroutine may call the methods.
type World interface {
	// Now returns the time by a clock that only rises.
	Now() time.Duration

	// Do sends a command over a path, and returns the reply as go-redis decodes it. After
	// an error that is no refusal of Redis, the command may have run, or may run later.
	Do(path Path, c Command) (reply any, err error)

	// Unblock ends the move that is under way, if there is one and Redis allows that. It
	// does not wait.
	Unblock()

	// Wait returns after d, or as soon as the signal is set: at once if it is set already.
	// A Wait that the signal ends resets it.
	Wait(s Signal, d time.Duration)

	// NewSignal returns a signal that is not set.
	NewSignal() Signal

	// Go runs f on a goroutine.
	Go(f func())
}

// A Signal wakes one or all of the loops that wait for it. A loop that it does not wake looks
// again when its Wait is over.
type Signal interface {
	Set()
}

// A Path is a way to Redis. A slow command on one path delays nothing on another.
type Path int

const (
	Fetching Path = iota // for takes: a move may block here for a while
	Beating              // for joins and beats: one that takes longer than BeatTime fails
	Mending              // for all other commands
)

// A Command is what a Worker sends.
type Command struct {
	Script *Script
	Keys   []string
	Args   []any

	// Move, if not 0, is how long a BLMOVE from Queue to Into waits. It goes before the
	// script, in the same pipeline. If Redis refuses it, the script runs all the same, but
	// Do may return the refusal as its error. Do does not send the move a second time: then
	// the script, whose first answer may have been lost, would wait for one more request.
	Move        time.Duration
	Queue, Into string
}
