package main

import (
	"errors"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The first row that is measured opens the window for all wanted rows.
func TestIdleWindow(t *testing.T) {
	w := &window{outcomes: make(map[string]idleOutcome)}
	var begun, closed []string
	begin := func(name string, err error) watch {
		return func(_ *environment, t *target) (func() (outcome, error), error) {
			begun = append(begun, name)
			t.onClose(func() { closed = append(closed, name) })
			return func() (outcome, error) { return outcome{note: name}, nil }, err
		}
	}
	broken := errors.New("broken")
	rows := []row{
		w.row("a", bound{}, begin("a", nil)),
		w.row("b", bound{}, begin("b", broken)),
		w.row("c", bound{}, begin("c", nil)),
		w.row("other", bound{}, begin("other", nil)),
	}
	env := &environment{ctx: t.Context(), wanted: regexp.MustCompile("^[abc]$")}
	for _, r := range rows[:3] {
		o, err := r.measure(env)
		if r.name == "b" {
			require.Equal(t, broken, err)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, r.name, o.note)
	}
	require.Equal(t, []string{"a", "b", "c"}, begun)
	require.ElementsMatch(t, begun, closed)
}

func TestIdleRows(t *testing.T) {
	env := &environment{
		ctx:    t.Context(),
		effort: effort{warmUp: 50 * time.Millisecond, idle: 50 * time.Millisecond},
		wanted: regexp.MustCompile("per minute|(stream|Redis), idle client and server, %"),
	}
	defer env.close()
	measured := 0
	for _, r := range idleRows() {
		if env.wants(r.name) {
			o, err := r.measure(env)
			require.NoError(t, err, r.name)
			require.GreaterOrEqual(t, o.value, 0.0, r.name)
			require.NotEmpty(t, o.note, r.name)
			measured++
		}
	}
	require.Equal(t, 3, measured)
}

func TestIdleMemory(t *testing.T) {
	env := &environment{ctx: t.Context()}
	defer env.close()
	bytes, err := idleMemory(env)
	require.NoError(t, err)
	require.Greater(t, bytes, 1000.0)
}
