package main

import (
	"fmt"
	"os"
)

// The callers that a growth row compares.
const (
	moreCallers  = 4096
	fewerCallers = 512
)

// growthRows compare many callers with fewer, on one transport.
func growthRows() (rows []row) {
	for _, t := range []transport{streamOurs, redisOurs, redisBatch, rabbitOurs, rabbitBatch, httpOurs, httpBatch} {
		rows = append(rows, growthRow(t, atLeast(0.9)))
	}
	return rows
}

// growthRow compares calls per second. Either side has a process of its own, so that
// the collector does not scan the stacks of the many in the turns of the fewer. The
// row is short where the many need more connections to the broker.
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

// growth returns the outcome of a contest of one transport with itself.
func (p *pairs) growth() outcome {
	ratios := p.ratios()
	for i, r := range ratios {
		ratios[i] = 1 / r
	}
	o := speedOutcome(ratios, medianOf(p.this, report.callsPerSecond), medianOf(p.other, report.callsPerSecond))
	if conns := [2]int{mostConns(p.this), mostConns(p.other)}; conns[0] > 0 {
		o.failed = conns[0] > conns[1]
		o.note += fmt.Sprintf(", %d and %d connections", conns[0], conns[1])
	}
	return o
}

func mostConns(reports []report) (most int) {
	for _, r := range reports {
		most = max(most, r.Conns)
	}
	return most
}
