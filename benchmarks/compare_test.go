package main

import (
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A pair's turns are A B, B A and so on, over all pairs.
func TestTurns(t *testing.T) {
	tests := map[string]struct {
		call  time.Duration // how long a turn takes
		order string
	}{
		"calls within their turns":    {time.Second, "ABBAABBAABBAABBA" + "ABBAABBAABBAABBA"},
		"calls that take whole pairs": {8 * time.Second, "AB" + "BA"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			p := pairs{of: 8 * time.Second, turn: time.Second}
			var order string
			for range 2 {
				require.NoError(t, p.add(func(i int, d time.Duration) (report, error) {
					require.Equal(t, time.Second, d)
					order += string("AB"[i])
					return report{Calls: 1 + i, Elapsed: test.call, Allocations: 3}, nil
				}))
			}
			require.Equal(t, test.order, order)
			require.Equal(t, []float64{2, 2}, p.ratios())
		})
	}
}

func TestPairThatFails(t *testing.T) {
	p := pairs{of: time.Second, turn: time.Second}
	broken := errors.New("broken")
	require.Equal(t, broken, p.add(func(int, time.Duration) (report, error) { return report{}, broken }))
	require.EqualError(t, p.add(func(i int, d time.Duration) (report, error) {
		return report{Calls: i, Elapsed: d}, nil
	}), "no call within 1s")
	require.Empty(t, p.ratios())
}

func TestPairsOutcome(t *testing.T) {
	var p pairs
	for i := range 20 {
		p.this = append(p.this, report{Calls: 10, Elapsed: time.Duration(91+i) * time.Microsecond, Allocations: 1000})
		p.other = append(p.other, report{Calls: 10, Elapsed: 100 * time.Microsecond, Allocations: 1005})
	}
	o := p.outcome()
	require.InDelta(t, 1.005, o.value, 1e-9)
	require.Equal(t, "0.91 to 1.10 (95 %: 0.960 to 1.050), this 10.05 µs, other 10.00 µs; "+
		"allocations: this 100.00, other 100.50, -0.50", o.note)
	require.Equal(t, "ok", atMost(1.03).verdict(o))
	require.Equal(t, "short", atMost(1).verdict(o))
}

func TestMedian(t *testing.T) {
	tests := map[string]struct {
		values            []float64
		median, low, high float64
	}{
		"one":   {[]float64{3}, 3, 3, 3},
		"two":   {[]float64{4, 3}, 3.5, 3, 4},
		"three": {[]float64{9, 1, 2}, 2, 1, 9},
		"nine":  {[]float64{9, 1, 2, 8, 3, 7, 4, 6, 5}, 5, 2, 8}, // 1 + 9 of 512 lie beyond, either way
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.median, median(test.values))
			low, high := medianWithin(test.values)
			require.Equal(t, []float64{test.low, test.high}, []float64{low, high})
		})
	}
	require.Zero(t, median(nil))
}

// No two sides have the same name: a measurer could open the wrong one.
func TestOurSides(t *testing.T) {
	names := make(map[string]side)
	for _, s := range ourSides() {
		require.NotContains(t, names, s.String())
		names[s.String()] = s
	}
	for _, want := range []string{"stream, 1 caller", "Redis, 64 callers", "Redis at least once, 64 callers",
		"RabbitMQ with Batch, 512 callers", "HTTP, 2 callers", "Redis, 300 calls of Ruby, 1 caller"} {
		require.Contains(t, names, want)
	}
}

// Both processes use one broker, and nothing is left behind.
func TestCompareWithItself(t *testing.T) {
	env := &environment{
		ctx:    t.Context(),
		effort: effort{compare: repeats{processes: 1, pairs: 4}},
		wanted: regexp.MustCompile("^(stream, 2|Redis, 1) "),
	}
	defer env.close()
	require.NoError(t, compare(env, "..", 1000))
}
