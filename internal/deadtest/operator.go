package deadtest

import (
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// Poison is the service servicetest.Poison when it is mended: its method does not panic.
type Poison struct{ runs atomic.Int64 }

// Take returns how often it ran.
func (p *Poison) Take(_ struct{}, n *int64) error {
	*n = p.runs.Add(1)
	return nil
}

// Operate plays an operator, when two requests for Poison.Take have killed their servers. It
// waits until the two are in list, calls serve to start a mended server, requeues one of them
// and waits until that has run, and deletes the other.
func Operate(t *testing.T, list jsonrpc2.DeadList, serve func(mended *Poison)) {
	t.Helper()
	servicetest.EventuallyEqual(t, 2, func() int {
		n, err := list.Len(t.Context())
		require.NoError(t, err)
		return n
	})
	dead, err := list.List(t.Context(), -1)
	require.NoError(t, err)
	require.Len(t, dead, 2)
	for _, d := range dead {
		require.Equal(t, "Poison.Take", d.Method())
		require.NotEmpty(t, d.Reason)
	}
	require.NotEqual(t, dead[0].ID(), dead[1].ID())

	mended := new(Poison)
	serve(mended)
	moved, err := list.Requeue(t.Context(), dead[1])
	require.NoError(t, err)
	require.Equal(t, 1, moved)
	servicetest.EventuallyEqual(t, 1, mended.runs.Load)
	deleted, err := list.Delete(t.Context(), dead...)
	require.NoError(t, err)
	require.Equal(t, 1, deleted, "the other one has run")
	n, err := list.Len(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	require.EqualValues(t, 1, mended.runs.Load())
}
