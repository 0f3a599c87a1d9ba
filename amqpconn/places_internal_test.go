package amqpconn

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Once the server is closed no request has a place that it did not take. Once one had: it
// freed a place more than was taken, for which Close waited for ever.
func TestNoPlaceAfterClose(t *testing.T) {
	t.Parallel()
	closed := make(chan struct{})
	p := &places{taken: make(chan struct{}, 1)}
	require.True(t, p.take(t.Context(), closed))
	p.use()
	close(closed)
	require.False(t, p.take(t.Context(), closed))
	p.free(1)
	require.Empty(t, p.taken)
	require.Zero(t, p.used.Load())
}
