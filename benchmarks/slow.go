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
	return slowly(t.name, func(env *environment, target *target) error {
		if err := t.open(env, target); err != nil {
			return err
		}
		target.use("Slow.Add")
		return nil
	})
}

// slowly returns the transport whose methods are slow by themselves.
func slowly(name string, o opener) transport {
	return transport{name + " with methods of " + slowness.String(), o}
}

// slowRows returns the rows that show whether all places of a server are in use while calls
// wait for them. The value is the share of the calls per second that so many places can do.
// Those without a bound show what is left when others do the same by hand.
func slowRows() []row {
	return []row{
		slowRow(atLeast(0.9), slow(streamOurs), jsonrpc2.DefaultMaxInFlight),
		slowRow(atLeast(0.9), slow(redisOurs), redisPrefetch),
		slowRow(atLeast(0.9), slow(rabbitOurs), rabbitPrefetch),
		slowRow(bound{}, slowly("RabbitMQ by hand", rabbitSlow), rabbitPrefetch),
		slowRow(atLeast(0.9), slow(httpOurs), jsonrpc2.DefaultMaxInFlight),
		slowRow(bound{}, slowly("net/http alone", httpFloor(slowness)), httpFloorPlaces),
	}
}

// slowRow calls a side in one long turn: at the beginning and at the end of a turn, not all
// places are in use.
func slowRow(b bound, t transport, places int) row {
	side := t.with(1024)
	limit := float64(places) / slowness.Seconds()
	return side.row("calls/s vs the limit", b, func(env *environment) (outcome, error) {
		target, err := warm(env, side)
		if err != nil {
			return outcome{}, err
		}
		defer target.close()
		turn, err := target.during(env.ctx, time.Duration(env.effort.rounds*env.effort.slices)*sliceOf(side.callers))
		return outcome{
			value: turn.rate() / limit,
			note:  fmt.Sprintf("%d places, %.0f/s, limit %.0f/s", places, turn.rate(), limit),
		}, err
	})
}
