package hold

import "time"

// A World is what a Worker acts on. The loops of a Worker have no goroutine, no timer
// and no select of their own, so that a simulator can run them.
type World interface {
	// Now returns the time by a clock that only rises.
	Now() time.Duration

	// Do sends a command over a path, and returns the reply as go-redis decodes it. An
	// error that is no refusal of Redis leaves open whether the command ran, or will.
	Do(path Path, c Command) (reply any, err error)

	// Unblock ends the move that is under way, if there is one and Redis lets it.
	Unblock()

	// Wait returns after d, or as soon as the signal is set, which it resets.
	Wait(s Signal, d time.Duration)

	// NewSignal returns a signal that is not set.
	NewSignal() Signal

	// Go runs f on a goroutine.
	Go(f func())
}

// A Signal wakes the loops that wait for it. A loop that misses it looks again when its Wait
// is over.
type Signal interface {
	Set()
}

// A Path is a way to Redis. A slow command on one path delays nothing on another.
type Path int

const (
	Fetching Path = iota // where a move may block for a while
	Beating              // where a command fails that takes longer than BeatTime
	Mending              // for all else
)

// A Command is what a Worker sends.
type Command struct {
	Script *Script
	Keys   []string
	Args   []any

	// Move, if not 0, is for how long a BLMOVE from the queue to what is ready waits,
	// in the same pipeline before the script. If it is refused, that is the error of Do,
	// though the script runs. It is not sent a second time: the script's answer would
	// wait for another request.
	Move        time.Duration
	Queue, Into string // of the move
}
