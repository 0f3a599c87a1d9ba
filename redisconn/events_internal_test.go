package redisconn

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// The log says that Redis lost a lease only if others can't have found the server silent.
// Formerly each answer renewed the lease for the log, also that to a take-over, and a beat
// counted from its answer.
func TestGoneIsExplained(t *testing.T) {
	const lost, late = "it lost data", "not renewed in time"
	for name, test := range map[string]struct {
		silence time.Duration // since the last beat's answer
		doing   string        // what worked since
		says    string
	}{
		"just renewed":                         {defaultLease / 2, "", lost},
		"the answer came late":                 {defaultLease - defaultLease/8, "", late},
		"not renewed":                          {2 * defaultLease, "", late},
		"not renewed, but others' taken over":  {2 * defaultLease, "taking over", late},
		"not renewed, but joined again by now": {2 * defaultLease, "joining", lost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb := redis.NewClient(&redis.Options{})
			t.Cleanup(func() { require.NoError(t, rdb.Close()) })
			var log bytes.Buffer
			opts := withDefaults(ListenOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			h := newHeld(newShared(rdb, "calc", opts), nil)
			h.world.began = time.Now().Add(-time.Hour)
			h.events.heard.Store(int64(h.world.Now() - test.silence))
			if test.doing != "" {
				h.events.Worked(test.doing)
			}
			h.events.Gone()
			require.Contains(t, log.String(), test.says)
		})
	}
}
