package main

import (
	"errors"
	"fmt"
	"slices"
)

// A row is one line of the table.
type row struct {
	name    string
	bound   bound
	ours    side // the side of ours that it measures; zero if it measures something else
	measure func(*environment) (outcome, error)
}

// A bound is the limit of a row's value. The zero bound is no limit.
type bound struct {
	sign  string // ≤ or ≥
	limit float64
}

func atMost(limit float64) bound  { return bound{"≤", limit} }
func atLeast(limit float64) bound { return bound{"≥", limit} }

// An at is the limit of a row with so many callers.
type at struct {
	callers int
	limit   float64
}

func (b bound) String() string {
	if b.sign == "" {
		return "-"
	}
	return fmt.Sprintf("%s %.4g", b.sign, b.limit)
}

// verdict returns "ok" or "short", or "" if there is no bound.
func (b bound) verdict(o outcome) string {
	switch {
	case o.missing:
		return "missing"
	case b.sign == "":
		return "-"
	case o.failed, b.sign == "≤" && o.value > b.limit, b.sign == "≥" && o.value < b.limit:
		return "short"
	}
	return "ok"
}

// An outcome is the result of a row.
type outcome struct {
	value   float64
	note    string // figures to print behind the verdict
	missing bool   // our side is absent, so there is no value
	failed  bool   // short, whatever the value
}

func (o outcome) shown() string {
	if o.missing {
		return "-"
	}
	return fmt.Sprintf("%.4g", o.value)
}

// printRows measures the rows that env wants, and prints each at once.
func printRows(env *environment, rows []row) error {
	var failures []error
	fmt.Printf("%-78s %8s %8s  %s\n", "row", "value", "bound", "verdict")
	for _, r := range rows {
		if !env.wants(r.name) {
			continue
		}
		o, err := r.measure(env)
		if env.ctx.Err() != nil {
			return env.ctx.Err()
		}
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", r.name, err))
			fmt.Printf("%-78s %8s %8s  failed: %v\n", r.name, "", r.bound, err)
			continue
		}
		fmt.Printf("%-78s %8s %8s  %-7s  %s\n", r.name, o.shown(), r.bound, r.bound.verdict(o), o.note)
	}
	return errors.Join(failures...)
}

func allRows() []row {
	return slices.Concat(streamRows(), redisRows(), rabbitRows(), httpRows(), rubyRows(),
		growthRows(), tailRows(), slowRows(), steadyRows(), idleRows())
}

// row returns a row that measures a side of ours. Its name begins with that of the side.
func (s side) row(what string, b bound, measure func(*environment) (outcome, error)) row {
	return row{s.String() + ", " + what, b, s, measure}
}

// ourSides returns the sides of ours that rows measure, each once.
func ourSides() (sides []side) {
	known := make(map[string]bool)
	for _, r := range allRows() {
		if name := r.ours.String(); r.ours.open != nil && !known[name] {
			known[name] = true
			sides = append(sides, r.ours)
		}
	}
	return sides
}

// speedRow returns a row whose value is the ratio of our calls per second to theirs.
func speedRow(what string, b bound, ours, theirs side) row {
	return ours.row(what, b, func(env *environment) (outcome, error) {
		d, err := fight(env, ours, theirs)
		return d.outcome(d.ratios()), err
	})
}

// timeRow returns a row whose value is the ratio of our time per call to theirs.
func timeRow(what string, b bound, ours, theirs side) row {
	return ours.row(what, b, func(env *environment) (outcome, error) {
		d, err := fight(env, ours, theirs)
		ratios := d.ratios()
		for i, r := range ratios {
			ratios[i] = 1 / r
		}
		return d.outcome(ratios), err
	})
}

// allocationRow returns a row whose value is the number of allocations per call.
func allocationRow(what string, b bound, ours side) row {
	return ours.row(what, b, func(env *environment) (outcome, error) {
		value, err := allocations(env, ours)
		return outcome{value: value}, err
	})
}

func (d *duel) outcome(ratios []float64) outcome {
	if len(ratios) == 0 {
		return outcome{missing: true, note: fmt.Sprintf("theirs %.0f/s", median(d.theirs))}
	}
	return speedOutcome(ratios, median(d.ours), median(d.theirs))
}

// speedOutcome returns the median of ratios as an outcome, with both sides' calls per second
// in its note.
func speedOutcome(ratios []float64, ours, theirs float64) outcome {
	return outcome{
		value: median(ratios),
		note:  fmt.Sprintf("%.2f to %.2f, ours %.0f/s, theirs %.0f/s", slices.Min(ratios), slices.Max(ratios), ours, theirs),
	}
}

// steadyRows returns the rows that watch one side for a long time.
func steadyRows() []row {
	stream := streamOurs.with(64)
	return []row{
		stream.row("growth of the heap, bytes per call", atMost(0.1), func(env *environment) (outcome, error) {
			value, err := heapGrowth(env, stream)
			return outcome{value: value, note: fmt.Sprintf("over %d calls", env.effort.heapCalls)}, err
		}),
	}
}
