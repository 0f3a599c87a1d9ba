package link

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each cause is logged once, and only the first ten of a flood.
func TestCauses(t *testing.T) {
	var c Causes
	for range 2 {
		require.True(t, c.IsNew("refused"))
		require.False(t, c.IsNew("refused"))
		for n := range maxCauses - 1 {
			require.True(t, c.IsNew(strconv.Itoa(n)))
		}
		require.False(t, c.IsNew("one more"))
		c.Clear()
	}
}

func TestRecovery(t *testing.T) {
	var r Recovery
	require.False(t, r.IsWithin(time.Hour), "it never was")
	r.Note(time.Now().Add(-time.Minute))
	require.False(t, r.IsWithin(time.Minute))
	require.True(t, r.IsWithin(time.Hour))
}
