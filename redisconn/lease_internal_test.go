package redisconn

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// Both who renew a lease at first do so at once, and either may be heard first.
// Only a lease that we knew of before we asked had run out.
func TestRenewed(t *testing.T) {
	type renewal struct {
		before bool
		new    int64
	}
	first, second := renewal{false, 1}, renewal{false, 0}
	for _, test := range []struct {
		name     string
		renewals []renewal
		lapses   int
	}{
		{"one", []renewal{first}, 0},
		{"two", []renewal{first, second}, 0},
		{"two in the other order", []renewal{second, first}, 0},
		{"renewed", []renewal{first, {true, 0}, {true, 0}}, 0},
		{"run out", []renewal{first, {true, 1}, {true, 0}, {true, 1}}, 2},
		{"run out, and its beginning was never heard", []renewal{second, {true, 1}}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			state := link.NewState(slog.New(slog.NewTextHandler(&log, nil)), "redis", "calc", "server")
			l := newLease(nil, "calc", ListenOptions{}, state, nil)
			for _, r := range test.renewals {
				var before time.Time
				if r.before {
					before = l.lastRenewal()
				}
				l.renewed(before, r.new)
				require.NotZero(t, l.lastRenewal())
			}
			require.Equal(t, test.lapses, strings.Count(log.String(), "the lease was not renewed in time"))
		})
	}
}
