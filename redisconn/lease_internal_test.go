package redisconn

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// Both who renew a lease at first do so at once, and either may be heard first.
// Only a lease that is begun a second time had run out.
func TestRenewedInAnyOrder(t *testing.T) {
	var log bytes.Buffer
	state := link.NewState(slog.New(slog.NewTextHandler(&log, nil)), "redis", "calc", "server")
	l := newLease(nil, "calc", ListenOptions{}, state, nil)
	l.renewed(int64(0))
	l.renewed(int64(1))
	l.renewed(int64(0))
	require.Empty(t, log.String())
	l.renewed(int64(1))
	require.Equal(t, 1, strings.Count(log.String(), "the lease had run out"))
}
