package amqpconn

import (
	"github.com/stretchr/testify/require"
	"testing"
	"testing/synctest"
	"time"
)

// A channel on which the broker refuses all messages is given up after a while. A channel on
// which it confirms a message now and then is not.
func TestChannelThatRefusesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gaveUp error
		r := refusals{giveUp: func(err error) { gaveUp = err }}
		for range 10 {
			r.add(false)
			time.Sleep(maxRefusal - 1)
			r.add(false)
			r.add(true)
		}
		require.NoError(t, gaveUp)
		r.add(false)
		time.Sleep(maxRefusal)
		r.add(false)
		require.ErrorIs(t, gaveUp, errAllRefused)
	})
}

// What waits for its confirm is bounded, in messages and in bytes. The writer that waits
// is woken once, when there is room for many messages.
func TestWhatIsUnconfirmedIsBounded(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ size, fit, wakes int }{
		"messages": {1, maxUnconfirmed, maxUnconfirmed / 2},
		"bytes":    {maxUnconfirmedBytes / 4, 4, 2},
		"a giant":  {2 * maxUnconfirmedBytes, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newPublishSession[string](nil, nil, true)
			m := tracked[string]{size: test.size}
			for range test.fit {
				require.False(t, s.isFull())
				s.tracking.add(m)
			}
			require.True(t, s.isFull())
			woken := 0
			for i := range test.fit {
				if s.tracking.remove(&m) {
					woken++
					require.Equal(t, test.wakes, i+1)
				}
			}
			require.Equal(t, 1, woken)
			require.False(t, s.isFull())
		})
	}
}
