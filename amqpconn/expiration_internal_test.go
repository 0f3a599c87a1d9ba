package amqpconn

import (
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A request says for how long its caller waits, as far as RabbitMQ takes it: it
// closes the channel for an expiration that it does not take, and drops what else
// is on it.
func TestExpiration(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	for want, timeouts := range map[string][]time.Duration{
		"1":          {1, time.Millisecond, 0, -time.Second, -100 * year, math.MinInt64},
		"1500":       {1500 * time.Millisecond, 1500*time.Millisecond + 999*time.Microsecond},
		"4294967295": {maxExpiration * time.Millisecond, (maxExpiration+1)*time.Millisecond - 1},
		"":           {(maxExpiration + 1) * time.Millisecond, 11 * year, 100 * year, 290 * year, math.MaxInt64},
	} {
		for _, timeout := range timeouts {
			synctest.Test(t, func(t *testing.T) {
				require.Equal(t, want, expiration(time.Now().Add(timeout)), "%v", timeout)
			})
		}
	}
	require.Empty(t, expiration(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)))
	require.Empty(t, expiration(time.Time{}))
}
