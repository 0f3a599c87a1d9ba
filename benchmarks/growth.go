package main

import (
	"fmt"
	"os"
)

// The numbers of callers that a growth row compares.
const (
	moreCallers  = 4096
	fewerCallers = 512
)

// growthRows returns the rows that compare many callers with fewer, each on one transport.
func growthRows() (rows []row) {
	for _, t := range []transport{streamOurs, redisOurs, redisBatch, rabbitOurs, rabbitBatch, httpOurs, httpBatch} {
		rows = append(rows, growthRow(t, atLeast(0.9)))
	}
	return rows
}

// growthRow compares calls per second. Each side has a process of its own: in one process, the
// collector would scan the stacks of the many callers in the turns of the fewer. The row is
// short, too, if the many callers need more connections to the broker.
func growthRow(t transport, b bound) row {
	ours, fewer := t.with(moreCallers), t.with(fewerCallers)
	return ours.row(fmt.Sprintf("calls/s vs %d callers", fewerCallers), b, func(env *environment) (outcome, error) {
		program, err := os.Executable()
		if err != nil {
			return outcome{}, err
		}
		turn := env.effort.growthTurn
		pairs, err := contest{{program, ours}, {program, fewer}}.measure(env, env.effort.growth, turn, turn)
		if err != nil {
			return outcome{}, err
		}
		return pairs.growth(), nil
	})
}

// growth returns the outcome of a contest between many and fewer callers.
func (p *pairs) growth() outcome {
	ratios := p.ratios()
	for i, r := range ratios {
		ratios[i] = 1 / r
	}
	o := speedOutcome(ratios, medianOf(p.this, report.callsPerSecond), medianOf(p.other, report.callsPerSecond))
	conns := medianOf(p.this, report.conns)
	if fewer := medianOf(p.other, report.conns); fewer > 0 {
		o.failed = conns > fewer
		o.note += fmt.Sprintf(", %.3g and %.3g connections", conns, fewer)
	}
	return o
}
