package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGrowth(t *testing.T) {
	p := pairs{
		this:  []report{{Calls: 10, Elapsed: time.Second, Conns: 3}, {Calls: 30, Elapsed: time.Second, Conns: 2}, {Calls: 20, Elapsed: time.Second, Conns: 3}},
		other: []report{{Calls: 20, Elapsed: time.Second, Conns: 3}, {Calls: 20, Elapsed: time.Second, Conns: 3}, {Calls: 20, Elapsed: time.Second, Conns: 3}},
	}
	o := p.growth()
	require.Equal(t, outcome{value: 1, note: "0.50 to 1.50, ours 20/s, theirs 20/s, 3 and 3 connections"}, o)

	p.this[1].Conns = 4
	require.Equal(t, "ok", atLeast(0.9).verdict(p.growth()), "one process may happen to have one more")
	p.this[2].Conns = 4
	require.Equal(t, "short", atLeast(0.9).verdict(p.growth()))
}

// A growth row opens each side in a process of its own, also the one with fewer callers, which
// no other row measures.
func TestGrowthRow(t *testing.T) {
	env := &environment{ctx: t.Context(), effort: effort{growth: repeats{processes: 1, pairs: 1}, growthTurn: 200 * time.Millisecond}}
	o, err := growthRow(httpBatch, bound{}).measure(env)
	require.NoError(t, err)
	require.Positive(t, o.value)
}
