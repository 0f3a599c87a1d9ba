package main

import (
	"fmt"
	"slices"
	"time"
)

// tailRows returns the rows that show how much longer slow calls take than most. Those without
// a bound are beside ours: a short median makes a great ratio, too.
func tailRows() []row {
	return []row{
		tailRow(atMost(4), streamOurs.with(64)),
		tailRow(bound{}, transport{"net/rpc with gob", streamGob}.with(64)),
		tailRow(bound{}, transport{"the floor of net/rpc", streamFloor}.with(64)),
		tailRow(bound{}, grpcGo.with(64)),
		tailRow(atMost(3), redisOurs.with(64)),
		tailRow(bound{}, redisLoop.with(64)),
		tailRow(atMost(2.3), rabbitOurs.with(64)),
		tailRow(atMost(4), httpOurs.with(64)),
	}
}

// tailRow returns a row whose value is the 99th percentile of the time of a call over the
// median.
func tailRow(b bound, ours side) row {
	return ours.row("time of a call, 99th percentile vs median", b, func(env *environment) (outcome, error) {
		all, err := measureLatencies(env, ours, env.effort.rounds, time.Duration(env.effort.slices)*sliceOf(ours.callers))
		if err != nil {
			return outcome{}, err
		}
		ratio := func(l latency) float64 { return l.p99.Seconds() / l.p50.Seconds() }
		p50 := medianOf(all, func(l latency) float64 { return milliseconds(l.p50) })
		p99 := medianOf(all, func(l latency) float64 { return milliseconds(l.p99) })
		ratios := figures(all, ratio)
		return outcome{
			value: median(ratios),
			note:  fmt.Sprintf("%.2f to %.2f, 99th percentile %.3g ms, median %.3g ms", slices.Min(ratios), slices.Max(ratios), p99, p50),
		}, nil
	})
}

// A latency is the time of a call as one caller among many sees it.
type latency struct {
	rate     float64 // of all callers, per second
	p50, p99 time.Duration
}

// measureLatency times each call of a side for long enough to draw the result.
func measureLatency(env *environment, s side) (latency, error) {
	all, err := measureLatencies(env, s, 1, time.Duration(2*env.effort.slices)*sliceOf(s.callers))
	if err != nil {
		return latency{}, err
	}
	return all[0], nil
}

// measureLatencies times each call of a side, in rounds that each last for of.
func measureLatencies(env *environment, s side, rounds int, of time.Duration) (all []latency, err error) {
	t, err := warm(env, s)
	if err != nil {
		return nil, err
	}
	defer t.close()
	times := make([][]time.Duration, s.callers)
	call := t.call
	t.call = func(caller int) error {
		start := time.Now()
		err := call(caller)
		times[caller] = append(times[caller], time.Since(start))
		return err
	}
	for range rounds {
		turn, err := t.during(env.ctx, of)
		if err != nil {
			return nil, err
		}
		round := slices.Concat(times...)
		all = append(all, latency{turn.rate(), quantile(round, 0.5), quantile(round, 0.99)})
		clear(times)
	}
	return all, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
