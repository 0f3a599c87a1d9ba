package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTailRow(t *testing.T) {
	env := &environment{ctx: t.Context(), effort: effort{rounds: 2, slices: 1}}
	o, err := tailRow(bound{}, streamOurs.with(2)).measure(env)
	require.NoError(t, err)
	require.GreaterOrEqual(t, o.value, 1.0)
}

// Each call of a slow row takes as long as its method.
func TestSlowRow(t *testing.T) {
	env := &environment{ctx: t.Context(), effort: effort{rounds: 1, slices: 1}}
	for _, side := range []transport{slow(streamOurs), slowly("net/http alone", httpFloor(slowness))} {
		o, err := slowRow(bound{}, side, 256).measure(env)
		require.NoError(t, err)
		require.Positive(t, o.value)
		require.LessOrEqual(t, o.value, 1.0)
	}
}
