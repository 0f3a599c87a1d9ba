package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// idleRows returns the rows that watch ends which nobody calls any more.
func idleRows() []row {
	w := &window{outcomes: make(map[string]idleOutcome)}
	rows := []row{
		w.row("Redis, idle client and server, broker commands per minute", atMost(60), watchPair),
		w.row(fmt.Sprintf("Redis, %d idle servers and %d idle clients, broker commands per second", manyServers, manyClients),
			atMost(40), watchMany),
	}
	for _, t := range []transport{streamOurs, streamListener, redisOurs, redisAtLeastOnce, rabbitOurs, httpOurs} {
		rows = append(rows, w.row(t.name+", idle client and server, % of a core", atMost(0.1), watchProcess(t)))
	}
	return append(rows, idleMemoryRow())
}

// A watch opens ends, for t to close, and calls them. It returns a function that watches them
// while they are idle, for as long as env.effort.idle.
type watch func(env *environment, t *target) (func() (outcome, error), error)

// A window is the time in which all idle rows watch at once. One after another, each would
// take a minute.
type window struct {
	rows     []row
	watches  []watch
	over     sync.Once
	outcomes map[string]idleOutcome // by the name of the row
}

type idleOutcome struct {
	outcome
	err error
}

// row adds a row to the window. The first row that is measured opens the window for all, and
// waits until it is over.
func (w *window) row(name string, b bound, begin watch) row {
	r := row{name: name, bound: b, measure: func(env *environment) (outcome, error) {
		w.over.Do(func() { w.open(env) })
		o := w.outcomes[name]
		return o.outcome, o.err
	}}
	w.rows, w.watches = append(w.rows, r), append(w.watches, begin)
	return r
}

// open makes all watches of the rows that env wants, at once.
func (w *window) open(env *environment) {
	ends := make(map[string]func() (outcome, error))
	for i, r := range w.rows {
		if !env.wants(r.name) {
			continue
		}
		t := new(target)
		defer t.close()
		end, err := w.watches[i](env, t)
		if err != nil {
			w.outcomes[r.name] = idleOutcome{err: err}
			continue
		}
		ends[r.name] = end
	}
	pause(env.ctx, env.effort.settle)
	var mu sync.Mutex // protects the outcomes
	var watching sync.WaitGroup
	for name, end := range ends {
		watching.Go(func() {
			o, err := end()
			mu.Lock()
			defer mu.Unlock()
			w.outcomes[name] = idleOutcome{o, err}
		})
	}
	watching.Wait()
}

// pause waits for d, or until ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// watchPair counts the commands of one idle client and server.
func watchPair(env *environment, t *target) (func() (outcome, error), error) {
	own, err := onOwnRedis(env, t)
	if err != nil {
		return nil, err
	}
	pair, err := open(own, redisOurs.with(1))
	if err != nil {
		return nil, err
	}
	t.onClose(pair.close)
	return countCommands(own, time.Minute), pair.call(0)
}

// watchMany counts the commands of many idle clients and servers.
func watchMany(env *environment, t *target) (func() (outcome, error), error) {
	own, err := onOwnRedis(env, t)
	if err != nil {
		return nil, err
	}
	p, err := newRedisPair(own, t, poolOfMany)
	if err != nil {
		return nil, err
	}
	if err := p.serveBy(t, manyServers); err != nil {
		return nil, err
	}
	return countCommands(own, time.Second), p.callFrom(t, manyClients)
}

// onOwnRedis returns an environment with a Redis that nobody else sends commands to.
func onOwnRedis(env *environment, t *target) (*environment, error) {
	own := &environment{ctx: env.ctx, effort: env.effort}
	t.onClose(own.close)
	return own, own.harness.try(func() { own.redis = brokertest.StartRedis(&own.harness).URL() })
}

// countCommands returns a function that counts the commands that a Redis runs per unit while
// all ends are idle.
func countCommands(env *environment, unit time.Duration) func() (outcome, error) {
	return func() (outcome, error) {
		n, err := idleCommands(env)
		return outcome{
			value: float64(n) / float64(env.effort.idle) * float64(unit),
			note:  fmt.Sprintf("%d over %v", n, env.effort.idle),
		}, err
	}
}

// watchProcess measures the processor time of a process that has an idle client and server.
func watchProcess(transport transport) watch {
	return func(env *environment, t *target) (func() (outcome, error), error) {
		program, err := os.Executable()
		if err != nil {
			return nil, err
		}
		pair := transport.with(1)
		variables, err := brokersFor(env, pair)
		if err != nil {
			return nil, err
		}
		m, err := startMeasurer(env.ctx, program, variables...)
		if err != nil {
			return nil, err
		}
		t.onClose(m.end)
		_, err = m.measure(order{Open: pair.String(), For: env.effort.warmUp})
		return func() (outcome, error) {
			r, err := m.measure(order{For: env.effort.idle, Idle: true})
			return outcome{
				value: 100 * r.CPU.Seconds() / env.effort.idle.Seconds(),
				note:  fmt.Sprintf("%v over %v", r.CPU, env.effort.idle),
			}, err
		}, err
	}
}
