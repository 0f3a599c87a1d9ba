package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// The sides that are not ours make calls, too, and leave nothing behind.
func TestTheirSides(t *testing.T) {
	env := &environment{ctx: t.Context()}
	defer env.close()
	for _, theirs := range []transport{natsMicro, grpcGo, {"stream floor", streamFloor}, netHTTP, {"best loop", redisBest}, {"wire floor", redisFloor}} {
		t.Run(theirs.name, func(t *testing.T) {
			target, err := open(env, theirs.with(8))
			require.NoError(t, err)
			defer target.close()
			s, err := target.times(t.Context(), 100)
			require.NoError(t, err)
			require.Equal(t, 100, s.calls)
		})
	}
}
