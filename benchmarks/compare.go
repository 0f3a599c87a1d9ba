package main

import (
	"fmt"
	"math"
	"os"
	"slices"
)

// compare prints how this checkout does beside another one, with a row for each side of ours.
func compare(env *environment, other string, within float64) error {
	dir, err := os.MkdirTemp("", "benchmarks")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	programs, err := buildBoth(env.ctx, other, dir)
	if err != nil {
		return err
	}
	return printRows(env, programs.rows(within))
}

// programs are the paths of two measurers: that of this checkout, and that of the other.
type programs [2]string

// rows returns the rows whose values are the ratios of the time per call with this checkout to
// that with the other.
func (p programs) rows(within float64) (rows []row) {
	for _, s := range ourSides() {
		of := 2 * sliceOf(s.callers)
		rows = append(rows, s.row("time per call", atMost(within), func(env *environment) (outcome, error) {
			pairs, err := contest{{p[0], s}, {p[1], s}}.measure(env, env.effort.compare, of, of/turnsOfPair)
			if err != nil {
				return outcome{}, err
			}
			return pairs.outcome(), nil
		}))
	}
	return rows
}

// turnsOfPair is how many turns each side takes in a pair, fewer if a call takes longer than a
// turn. Turns are short, so that what else the machine does affects both sides alike.
const turnsOfPair = 8

func (p *pairs) outcome() outcome {
	ratios := p.ratios()
	low, high := medianWithin(ratios)
	allocations := medianOf(p.this, report.allocationsPerCall)
	otherAllocations := medianOf(p.other, report.allocationsPerCall)
	return outcome{
		value: median(ratios),
		note: fmt.Sprintf("%.2f to %.2f (95 %%: %.3f to %.3f), this %.2f µs, other %.2f µs; allocations: this %.2f, other %.2f, %+.2f",
			slices.Min(ratios), slices.Max(ratios), low, high,
			1e6*medianOf(p.this, report.perCall), 1e6*medianOf(p.other, report.perCall),
			allocations, otherAllocations, allocations-otherAllocations),
	}
}

// medianWithin returns two of the values. With a probability of 95 %, the true median lies
// between them: that of the distribution from which the values are drawn. The distribution may
// be any: of n values, the number below the true median is binomial, about n/2 ± 1.96 √n/2.
func medianWithin(values []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := float64(len(sorted))
	outside := max(0, int(math.Round(n/2-1.96*math.Sqrt(n)/2))-1)
	return sorted[outside], sorted[len(sorted)-1-outside]
}
