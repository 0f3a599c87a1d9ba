package main

import (
	"context"
	"errors"
	"time"
)

// A contest compares two sides, each in a process of its own.
type contest [2]contestant

type contestant struct {
	program string
	side    side
}

// measure makes the processes of both sides measure in turns, each at least for as long as of
// in each pair. After n.pairs pairs it starts new processes, since a process may be fast or
// slow all its life by chance.
func (c contest) measure(env *environment, n repeats, of, turn time.Duration) (*pairs, error) {
	variables, err := brokersFor(env, c[0].side)
	if err != nil {
		return nil, err
	}
	all := &pairs{of: of, turn: turn}
	for range n.processes {
		if err := c.measureOnce(env.ctx, variables, n.pairs, all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// measureOnce starts a process of each side, and adds the pairs that the two measure.
func (c contest) measureOnce(ctx context.Context, variables []string, pairs int, to *pairs) error {
	var measurers [2]*measurer
	for i, of := range c {
		m, err := startMeasurer(ctx, of.program, variables...)
		if err != nil {
			return err
		}
		defer m.end()
		warmUp := order{Open: of.side.String(), For: to.of}
		if _, err := m.measure(warmUp); err != nil {
			return err
		}
		measurers[i] = m
	}
	for range pairs {
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

// Pairs are the results of a contest. this[i] and other[i] are a pair.
type pairs struct {
	of, turn    time.Duration // how long each side is called in a pair, and in a turn, at least
	turns       int           // that each side has taken
	this, other []report
}

// add adds a pair. The turns go A B, B A, A B and so on. Neither side is thus always the later
// one, and a drift of the machine's speed cancels out.
func (p *pairs) add(measure func(i int, d time.Duration) (report, error)) error {
	var pair [2]report
	for min(pair[0].Elapsed, pair[1].Elapsed) < p.of {
		for i := range pair {
			i = (i + p.turns) % 2
			r, err := measure(i, p.turn)
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

// ratios returns the ratios of the time per call of the first side to that of the other, pair
// by pair.
func (p *pairs) ratios() []float64 {
	ratios := make([]float64, len(p.this))
	for i := range ratios {
		ratios[i] = p.this[i].perCall() / p.other[i].perCall()
	}
	return ratios
}
