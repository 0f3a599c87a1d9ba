package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"regexp"
	"slices"
	"time"
)

// compare prints how this checkout does beside another, a row for each side of
// ours.
func compare(env *environment, other string, within float64, wanted *regexp.Regexp) error {
	dir, err := os.MkdirTemp("", "benchmarks")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	programs, err := buildBoth(env.ctx, other, dir)
	if err != nil {
		return err
	}
	return printRows(env, programs.rows(within), wanted)
}

// programs are what measures this checkout, and what measures the other.
type programs [2]string

// rows returns the rows that compare the time per call: with this checkout to
// with the other.
func (p programs) rows(within float64) (rows []row) {
	for _, s := range ourSides() {
		rows = append(rows, s.row("time per call", atMost(within), func(env *environment) (outcome, error) {
			pairs, err := p.measure(env, s)
			if err != nil {
				return outcome{}, err
			}
			return pairs.outcome(), nil
		}))
	}
	return rows
}

// pairsOfProcesses is how many pairs two processes measure before new ones take
// their place: a process may be fast or slow all its life by chance.
const pairsOfProcesses = 4

func (p programs) measure(env *environment, s side) (*pairs, error) {
	variables, err := brokersFor(env, s)
	if err != nil {
		return nil, err
	}
	all := &pairs{of: 2 * sliceOf(s.callers)}
	for range env.effort.processes {
		if err := p.measureOnce(env.ctx, s, variables, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// measureOnce starts a process of each checkout and adds what they measure.
func (p programs) measureOnce(ctx context.Context, s side, variables []string, to *pairs) error {
	var measurers [2]*measurer
	for i, program := range p {
		m, err := startMeasurer(ctx, program, variables...)
		if err != nil {
			return err
		}
		defer m.end()
		warmUp := order{Open: s.String(), For: to.of}
		if _, err := m.measure(warmUp); err != nil {
			return err
		}
		measurers[i] = m
	}
	for range pairsOfProcesses {
		err := to.add(func(i int, d time.Duration) (report, error) { return measurers[i].measure(order{For: d}) })
		if err != nil {
			return err
		}
	}
	return nil
}

// brokersFor starts the brokers that a side needs, by opening it once, and
// returns the environment variables with their URLs.
func brokersFor(env *environment, s side) (variables []string, err error) {
	t, err := open(env, s)
	if err != nil {
		return nil, err
	}
	t.close()
	if env.redis != "" {
		variables = append(variables, "REDIS_URL="+env.redis)
	}
	if env.amqp != "" {
		variables = append(variables, "AMQP_URL="+env.amqp)
	}
	return variables, nil
}

// Pairs are what the two checkouts did in turns.
type pairs struct {
	of          time.Duration // how long either of a pair is called, at least
	turns       int           // taken by each
	this, other []report      // one of each is a pair
}

// turnsOfPair is how many turns make up a side of a pair, fewer where a call takes
// longer than a turn. Turns are short, so that what else the machine does meets
// both sides alike.
const turnsOfPair = 8

// add adds a pair. The turns go A B, B A, A B and so on: neither side is always
// the later one, and a drift of the machine's speed cancels out.
func (p *pairs) add(measure func(i int, d time.Duration) (report, error)) error {
	var pair [2]report
	for min(pair[0].Elapsed, pair[1].Elapsed) < p.of {
		for i := range pair {
			i = (i + p.turns) % 2
			r, err := measure(i, p.of/turnsOfPair)
			if err != nil {
				return err
			}
			pair[i].add(r)
		}
		p.turns++
	}
	if pair[0].Calls == 0 || pair[1].Calls == 0 {
		return errors.New("no call within " + p.of.String())
	}
	p.this, p.other = append(p.this, pair[0]), append(p.other, pair[1])
	return nil
}

// ratios returns the time per call of this checkout to that of the other, pair
// by pair.
func (p *pairs) ratios() []float64 {
	ratios := make([]float64, len(p.this))
	for i := range ratios {
		ratios[i] = p.this[i].perCall() / p.other[i].perCall()
	}
	return ratios
}

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

// medianOf returns the median of a figure.
func medianOf(reports []report, figure func(report) float64) float64 {
	var values []float64
	for _, r := range reports {
		values = append(values, figure(r))
	}
	return median(values)
}

// medianWithin returns the two values between which the median of what they are
// drawn from lies, with a probability of 95 %. It supposes no distribution: of n
// values, the number below that median is binomial, about n/2 ± 1.96 √n/2.
func medianWithin(values []float64) (low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := float64(len(sorted))
	outside := max(0, int(math.Round(n/2-1.96*math.Sqrt(n)/2))-1)
	return sorted[outside], sorted[len(sorted)-1-outside]
}
