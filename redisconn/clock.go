package redisconn

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A clock knows the broker's clock. Requests carry deadlines by that clock, since the clocks
// of the machines may differ. A clock asks only when it is used. It is for one goroutine at a
// time: an outlet's is protected by pushing, the others belong to one goroutine each.
type clock struct {
	ask   func() (time.Time, error)
	state *link.State // of the connection: after a fault the broker may be another

	again       time.Time // when to ask for the time again; zero: at once
	changes     int64     // state.Changes at that time
	reading     reading   // zero if the broker's clock is not known
	checked     time.Time // when the reading was last known to be right
	refusesTime bool      // Redis does not tell its time beside a push
}

// A reading is what both clocks showed at the same moment.
type reading struct {
	broker, local time.Time
	roundTrip     time.Duration // of the question; broker may be wrong by half of it
}

const (
	// clockTime is how long an answer or a refusal counts.
	clockTime = time.Minute

	// clockErrorTime is how long an error counts. Meanwhile requests have no deadlines. To ask
	// again may hold up a server for maxClockWait, and a client for sendPatience.
	clockErrorTime = 2 * time.Second

	// freshTime is how old a reading may be without a check. An older one is checked
	// beside the next push, or before a request is dropped, since someone may have set the
	// broker's clock.
	freshTime = time.Second

	// quickAnswer is how long an answer may take. After a slower one, which may have had to
	// wait for a connection, the clock asks once more, to know the moment better.
	quickAnswer = 5 * time.Millisecond

	// maxDeadline is how far away a deadline may be. A later one counts as none, since
	// a time.Duration can't be longer than 292 years.
	maxDeadline = 50 * 365 * 24 * time.Hour

	// maxClockWait is how long a server waits for the time. A drain waits for it, too.
	maxClockWait = 500 * time.Millisecond
)

// errNoTime says that Redis told its time neither by TIME nor by a script.
var errNoTime = errors.New("the time of Redis is not known: it refuses TIME and scripts")

func newClock(b *broker) *clock {
	return &clock{state: b.state, ask: func() (time.Time, error) {
		ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
		defer cancel()
		return brokerTime(ctx, b.rdb, b.queue)
	}}
}

// refresh asks the broker for its time if the last answer is too old, or if the connection has
// changed since. After an error the broker's clock is not known.
func (c *clock) refresh() error {
	changes := c.state.Changes.Load()
	if c.changes == changes && time.Now().Before(c.again) {
		return nil
	}
	c.again, c.changes, c.reading = time.Now().Add(clockTime), changes, reading{}
	best, err := c.read()
	if err == nil && !best.broker.IsZero() && best.roundTrip > quickAnswer {
		var again reading
		if again, err = c.read(); again.roundTrip < best.roundTrip {
			best = again
		}
	}
	if err != nil {
		c.again = time.Now().Add(clockErrorTime)
		return err
	}
	c.reading, c.checked = best, time.Now()
	return nil
}

// isStale reports whether the reading has to be checked.
func (c *clock) isStale() bool { return c.isKnown() && time.Since(c.checked) >= freshTime }

// check compares c.reading with r, which the broker has told beside a push. It replaces
// c.reading if r contradicts it or is more precise. Then refresh need not ask for a while.
func (c *clock) check(r reading) {
	expected := c.reading.broker.Add(r.local.Sub(c.reading.local))
	holds := r.broker.Sub(expected).Abs() <= (r.roundTrip+c.reading.roundTrip)/2
	if !holds || r.roundTrip < c.reading.roundTrip {
		c.reading = r
	}
	c.checked = time.Now()
	c.again = c.checked.Add(clockTime)
}

// read asks the broker for its time once. It takes the middle of the round trip for the moment
// at which the broker read its clock.
func (c *clock) read() (r reading, err error) {
	begin := time.Now()
	r.broker, err = c.ask()
	r.roundTrip = time.Since(begin)
	r.local = begin.Add(r.roundTrip / 2)
	return r, err
}

// isKnown reports whether the broker's clock is known.
func (c *clock) isKnown() bool { return !c.reading.broker.IsZero() }

// toBroker converts a moment by our clock into Unix milliseconds by the broker's, rounded up.
// It returns 0 if the broker's clock is not known, or if the moment is too far away.
func (c *clock) toBroker(t time.Time) int64 {
	if !c.isKnown() {
		return 0
	}
	left := t.Sub(c.reading.local) // at most 292 years
	if left > maxDeadline {
		return 0
	}
	left = max(left, -maxDeadline)
	return max(c.reading.broker.Add(left+time.Millisecond-1).UnixMilli(), 1)
}

// now returns the time by the broker's clock in Unix milliseconds. It does not ask, and returns
// 0 if the clock is not known, or if the connection has changed since the clock was read.
func (c *clock) now() int64 {
	if c.changes != c.state.Changes.Load() {
		return 0
	}
	return c.toBroker(time.Now())
}

// deadline converts the deadline of a request, in Unix milliseconds by the broker's clock, into
// one by our clock. It returns zero if the request has none, which is 0, or if the broker's
// clock is not known. Before it returns a deadline that has passed, it checks the clock.
func (c *clock) deadline(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	_ = c.refresh() // after an error the clock is not known
	if !c.isKnown() {
		return time.Time{}
	}
	deadline := c.toLocal(ms)
	if c.isStale() && !deadline.After(time.Now()) { // the clock may have been set since
		c.again = time.Time{}
		_ = c.refresh()
		if !c.isKnown() {
			return time.Time{}
		}
		deadline = c.toLocal(ms)
	}
	return deadline
}

// toLocal is the reverse of toBroker, for a clock that is known.
func (c *clock) toLocal(ms int64) time.Time {
	left := time.UnixMilli(ms).Sub(c.reading.broker) // at most 292 years
	return c.reading.local.Add(min(max(left, -maxDeadline), maxDeadline))
}

// brokerTime asks for the time of the node that has the queue: by TIME, or by a script if
// Redis refuses TIME or has many nodes. It returns zero if Redis refuses both.
func brokerTime(ctx context.Context, rdb redis.UniversalClient, queue string) (time.Time, error) {
	for _, command := range timeCommands(rdb, queue) {
		cmd := newUnrepeated(ctx, command...)
		_ = rdb.Process(ctx, cmd)
		t, err := timeOf(cmd)
		if err != nil && (!isRefusal(err, "") || isRefusal(err, "NOAUTH", "WRONGPASS")) {
			return time.Time{}, err
		}
		if !t.IsZero() {
			return t, nil
		}
	}
	return time.Time{}, nil
}

// timeCommands returns the commands that tell the time, the best first. On a Cluster TIME would
// go to any node. The script names the queue as its key, so that it goes to the queue's node.
func timeCommands(rdb redis.UniversalClient, queue string) [][]any {
	script := []any{"eval", "return redis.call('TIME')", 1, queue}
	if _, cluster := rdb.(*redis.ClusterClient); cluster {
		return [][]any{script}
	}
	return [][]any{{"time"}, script}
}

// timeOf returns the time that Redis told: two numbers, seconds and microseconds. It returns
// zero for any other reply.
func timeOf(cmd unrepeated) (time.Time, error) {
	if err := cmd.Err(); err != nil {
		return time.Time{}, err
	}
	texts, _ := cmd.Slice()
	if len(texts) != 2 {
		return time.Time{}, nil
	}
	var parts [2]int64
	for i, text := range texts {
		n, err := strconv.ParseInt(fmt.Sprint(text), 10, 64)
		if err != nil {
			return time.Time{}, nil
		}
		parts[i] = n
	}
	return time.Unix(parts[0], parts[1]*1000), nil
}
