package redisconn

import (
	"errors"
	"log/slog"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A fakeTime is a broker whose clock differs from ours.
type fakeTime struct {
	ahead time.Duration
	slow  []time.Duration // how long the next answers take, half of it each way
	err   error
	none  bool // it refuses to tell
	asked int
}

func (f *fakeTime) ask() (time.Time, error) {
	f.asked++
	var slow time.Duration
	if len(f.slow) > 0 {
		slow, f.slow = f.slow[0], f.slow[1:]
	}
	time.Sleep(slow / 2)
	told := time.Now().Add(f.ahead)
	time.Sleep(slow / 2)
	if f.none {
		told = time.Time{}
	}
	return told, f.err
}

func newFakeClock() (*clock, *fakeTime) {
	f := new(fakeTime)
	return &clock{ask: f.ask, state: link.NewState(nil, "redis", "calc", "test")}, f
}

// Deadlines are the same moments at both ends, however their clocks differ.
func TestClock(t *testing.T) {
	for name, ahead := range map[string]time.Duration{
		"same": 0, "ahead": time.Hour, "behind": -time.Hour, "by little": 1500 * time.Microsecond,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, f := newFakeClock()
				f.ahead, f.slow = ahead, []time.Duration{4 * time.Millisecond}
				require.NoError(t, c.refresh())
				deadline := time.Now().Add(time.Second)
				ms := c.toBroker(deadline)
				requireBetween(t, deadline.Add(ahead), time.UnixMilli(ms))
				requireBetween(t, deadline, c.deadline(ms))
				require.Equal(t, 1, f.asked)
				require.Zero(t, c.deadline(0))
				require.Greater(t, time.Until(c.deadline(math.MaxInt64)), 1000*time.Hour)
				require.Less(t, time.Until(c.deadline(1)), -1000*time.Hour)
			})
		})
	}
}

// A time that is too far away is no deadline, and none turns into its opposite. Formerly a
// Timeout of centuries became a deadline in the past.
func TestFarDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, ahead := range []time.Duration{0, time.Hour, -time.Hour, 40 * 365 * 24 * time.Hour, -25 * 365 * 24 * time.Hour} {
			c, f := newFakeClock()
			f.ahead = ahead
			require.NoError(t, c.refresh())
			now := time.Now()
			for _, far := range []time.Time{
				now.Add(maxDeadline + 1), now.Add(100 * 365 * 24 * time.Hour), now.Add(math.MaxInt64), now.AddDate(1000, 0, 0),
				now.AddDate(1_000_000, 0, 0),
			} {
				require.Zero(t, c.toBroker(far), far)
			}
			for _, near := range []time.Time{now, now.Add(time.Second), now.AddDate(40, 0, 0)} {
				ms := c.toBroker(near)
				require.Positive(t, ms)
				require.False(t, c.deadline(ms).Before(near), near)
				require.Less(t, c.deadline(ms).Sub(near), time.Millisecond)
			}
			for _, past := range []time.Time{{}, time.Unix(0, 0), now.Add(-time.Second), now.Add(math.MinInt64)} {
				ms := c.toBroker(past)
				require.Positive(t, ms)
				require.True(t, c.deadline(ms).Before(now), past)
			}
			for _, stranger := range []int64{math.MaxInt64, math.MaxInt64 / 1000, 1 << 53, 4e15} {
				require.True(t, c.deadline(stranger).After(now.AddDate(5, 0, 0)), stranger)
			}
		}
	})
}

// When the broker's clock is set, requests that are pushed a second later are not dropped: a
// client checks its reading beside a push, and a server before it drops a request. Formerly calls
// were dropped for a minute.
func TestClockIsSet(t *testing.T) {
	for name, step := range map[string]time.Duration{"forward": time.Minute, "back": -time.Minute, "by a little": 2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, f := newFakeClock()
				server := &clock{ask: f.ask, state: client.state}
				require.NoError(t, client.refresh())
				require.NoError(t, server.refresh())
				f.ahead = step
				time.Sleep(freshTime)
				require.True(t, client.isStale())
				now := time.Now()
				client.check(reading{broker: now.Add(f.ahead), local: now, roundTrip: time.Millisecond})
				require.False(t, client.isStale())
				deadline := now.Add(time.Second)
				got := server.deadline(client.toBroker(deadline))
				require.WithinDuration(t, deadline, got, max(step, 0)+time.Millisecond)
				require.True(t, got.After(now), "it is dropped")
				past := now.Add(-time.Second)
				require.False(t, server.deadline(client.toBroker(past)).After(now.Add(step.Abs())), "it is not dropped")
			})
		})
	}
}

// A reading that holds is not replaced by one that is less precise.
func TestClockKeepsThePreciseReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newFakeClock()
		require.NoError(t, c.refresh())
		precise := c.reading
		time.Sleep(freshTime)
		now := time.Now()
		c.check(reading{broker: now.Add(400 * time.Millisecond), local: now, roundTrip: time.Second})
		require.Equal(t, precise, c.reading)
		require.False(t, c.isStale())
		c.check(reading{broker: now.Add(time.Hour), local: now, roundTrip: time.Second})
		require.NotEqual(t, precise, c.reading)
	})
}

// requireBetween requires a moment that was rounded up to milliseconds.
func requireBetween(t *testing.T, want, got time.Time) {
	t.Helper()
	require.False(t, got.Before(want), "%v is before %v", got, want)
	require.Less(t, got.Sub(want), time.Millisecond)
}

// The broker is asked when the clock is used, and an answer is good for a minute.
func TestClockAsksSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFakeClock()
		for minute := 1; minute < 4; minute++ {
			for range 59 {
				require.NotZero(t, c.deadline(math.MaxInt64))
				require.Equal(t, minute, f.asked)
				time.Sleep(time.Second)
			}
			time.Sleep(time.Second)
		}
		time.Sleep(time.Hour)
		require.Equal(t, 3, f.asked)
	})
}

// A first answer that took long, as when a connection was made for it, is not
// relied on.
func TestClockAsksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFakeClock()
		f.slow = []time.Duration{time.Second, 2 * time.Millisecond}
		require.NoError(t, c.refresh())
		require.Equal(t, 2, f.asked)
		require.Equal(t, 2*time.Millisecond, c.reading.roundTrip)

		c, f = newFakeClock()
		f.slow = []time.Duration{20 * time.Millisecond, time.Second}
		require.NoError(t, c.refresh())
		require.Equal(t, 2, f.asked)
		require.Equal(t, 20*time.Millisecond, c.reading.roundTrip, "the better one")
	})
}

// A clock that is not known is not guessed. It is asked for again a minute after a refusal, and
// two seconds after an error.
func TestClockUnknown(t *testing.T) {
	for name, test := range map[string]struct {
		fault fakeTime
		err   error
		lasts time.Duration
	}{
		"refused": {fault: fakeTime{none: true}, lasts: time.Minute},
		"failed":  {fault: fakeTime{err: errFake}, err: errFake, lasts: 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, f := newFakeClock()
				f.none, f.err = test.fault.none, test.fault.err
				require.ErrorIs(t, c.refresh(), test.err)
				for end := time.Now().Add(test.lasts); time.Now().Before(end); time.Sleep(time.Second) {
					require.NoError(t, c.refresh())
					require.Zero(t, c.deadline(1))
					require.Zero(t, c.toBroker(time.Now()))
				}
				require.Equal(t, 1, f.asked)
				f.none, f.err = false, nil
				require.NotZero(t, c.deadline(1))
				require.NotZero(t, c.toBroker(time.Now()))

				f.none, f.err = test.fault.none, test.fault.err
				time.Sleep(time.Minute)
				require.Zero(t, c.deadline(1), "an old answer is not kept")
			})
		})
	}
}

var errFake = errors.New("no connection")

// After a fault the broker may be another one.
func TestClockAfterFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFakeClock()
		require.NoError(t, c.refresh())
		f.ahead = time.Hour
		c.state.Logger = slog.New(slog.DiscardHandler)
		c.state.Failed("testing", errFake)
		require.NoError(t, c.refresh())
		require.Equal(t, 2, f.asked)
		require.WithinDuration(t, time.Now().Add(time.Hour), time.UnixMilli(c.toBroker(time.Now())), time.Second)
		c.state.Failed("testing", errFake)
		require.NoError(t, c.refresh())
		require.Equal(t, 2, f.asked, "the same fault")
		c.state.Worked("testing")
		require.NoError(t, c.refresh())
		require.NoError(t, c.refresh())
		require.Equal(t, 3, f.asked)
	})
}

// The members are added to the first object, and nothing else is touched.
func TestRequestMembers(t *testing.T) {
	for _, test := range []struct {
		body, list string
		deadline   int64
		want       string
	}{
		{`{"id":"1"}`, "a", 5, `{"reply_to":"a","deadline_ms":5,"id":"1"}`},
		{`{"id":"1"}`, "a", 0, `{"reply_to":"a","id":"1"}`},
		{`{"id":"1"}`, "", 5, `{"deadline_ms":5,"id":"1"}`},
		{`{"id":"1"}`, "", 0, `{"id":"1"}`},
		{` [ {"id":"1"},{"id":"2"}]`, "a", 5, ` [ {"reply_to":"a","deadline_ms":5,"id":"1"},{"id":"2"}]`},
		{`{ }`, "a", 5, `{"reply_to":"a","deadline_ms":5 }`},
		{`{}`, "\"\n<ü", 0, `{"reply_to":"\"\n\u003cü"}`},
		{`[]`, "a", 5, `[]`},
		{``, "a", 5, ``},
	} {
		r := &request{Request: &jsonrpc2.Request{Body: []byte(test.body)}, list: test.list, deadlineMS: test.deadline}
		require.Equal(t, "x"+test.want, string(r.appendTo([]byte("x"))))
	}
}
