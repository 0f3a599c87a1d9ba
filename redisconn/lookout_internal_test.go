package redisconn

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A clock that was set back must not make a client say that nobody serves.
func TestLookoutChecksClock(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	_, _ = announcing(t, rdb, announcePeriod)
	b := newBroker(rdb, "calc", servicetest.Quiet, "client")
	l := newLookout(b, newClock(b))
	servicetest.Eventually(t, func() bool { return !l.seesNobody() })
	require.NotZero(t, l.assumed)
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		l.assumed = time.Time{}
		l.clock.reading.broker = l.clock.reading.broker.Add(step)
		l.clock.checked = time.Now().Add(-2 * freshTime)
		require.False(t, l.seesNobody())
		require.NotZero(t, l.assumed, "a server was found")
	}
}

// Only a reconnect of a short time ago keeps a client from saying that nobody serves.
func TestLookoutAfterReconnect(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	b := newBroker(rdb, "calc", servicetest.Quiet, "client")
	l := newLookout(b, newClock(b))
	require.True(t, l.seesNobody())
	b.impaired("sending requests", redis.ErrClosed)
	require.False(t, l.seesNobody(), "while it fails")
	b.worked("sending requests")
	require.False(t, l.seesNobody(), "when it works again")
	b.recovered.Note(time.Now().Add(-reannounceTime))
	require.True(t, l.seesNobody())

	broken := redis.NewClient(&redis.Options{Addr: rdb.Options().Addr})
	require.NoError(t, broken.Close())
	b.rdb = broken
	require.False(t, l.seesNobody(), "a look that fails")
	b.rdb, l.assumed = rdb, time.Time{}
	require.False(t, l.seesNobody(), "after it")
}

// A lineFunc gets each line of a log.
type lineFunc func(line string)

func (f lineFunc) Write(line []byte) (int, error) {
	f(string(line))
	return len(line), nil
}

// A recovery is noted before the outage ends. Formerly a client that looked between the two said
// that nobody serves.
func TestRecoveryIsNotedInTime(t *testing.T) {
	t.Parallel()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer rdb.Close()
	var l *lookout
	var ended []bool
	atEnd := lineFunc(func(line string) {
		if strings.Contains(line, `msg="connection works again"`) { // the outage has just ended
			ended = append(ended, l.isUnsettled())
		}
	})
	b := newBroker(rdb, "calc", slog.New(slog.NewTextHandler(atEnd, nil)), "client")
	l = newLookout(b, newClock(b))
	b.impaired("sending requests", redis.ErrClosed)
	b.worked("sending requests")
	require.Equal(t, []bool{true}, ended)
}
