package main

import (
	"fmt"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// slowness is how long a slow method takes.
const slowness = 20 * time.Millisecond

// Slow is the service whose methods take time.
type Slow struct{}

// Add waits, as for a database, and sets sum to A + B.
func (Slow) Add(args calc.Args, sum *float64) error {
	time.Sleep(slowness)
	return calc.Calc{}.Add(args, sum)
}

// slow returns a transport like t whose callers call a slow method.
func slow(t transport) transport {
	return transport{t.name + " with methods of " + slowness.String(), func(env *environment, target *target) error {
		if err := t.open(env, target); err != nil {
			return err
		}
		target.use("Slow.Add")
		return nil
	}}
}

// slowRows returns the rows that show whether all places of a server are in use while calls
// wait for them. The value is the share of the calls per second that so many places can do.
func slowRows() []row {
	return []row{
		slowRow(streamOurs, jsonrpc2.DefaultMaxInFlight),
		slowRow(redisOurs, redisPrefetch),
		slowRow(rabbitOurs, rabbitPrefetch),
		slowRow(httpOurs, jsonrpc2.DefaultMaxInFlight),
	}
}

// slowRow calls a side in one long turn: at the beginning and at the end of a turn, not all
// places are in use.
func slowRow(t transport, places int) row {
	ours := slow(t).with(1024)
	limit := float64(places) / slowness.Seconds()
	return ours.row("calls/s vs the limit", atLeast(0.9), func(env *environment) (outcome, error) {
		target, err := warm(env, ours)
		if err != nil {
			return outcome{}, err
		}
		defer target.close()
		turn, err := target.during(env.ctx, time.Duration(env.effort.rounds*env.effort.slices)*sliceOf(ours.callers))
		return outcome{
			value: turn.rate() / limit,
			note:  fmt.Sprintf("%d places, ours %.0f/s, limit %.0f/s", places, turn.rate(), limit),
		}, err
	})
}
