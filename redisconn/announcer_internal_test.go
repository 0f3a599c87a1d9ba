package redisconn

import (
	"context"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// announcing returns a server that announces itself in a short period. It is idle until drain
// is called.
func announcing(t *testing.T, rdb *redis.Client, period time.Duration) (conn *ServerConn, drain context.CancelFunc) {
	t.Helper()
	conn = newServerConn(rdb, "calc", ListenOptions{Logger: servicetest.Quiet})
	conn.announcer.period = period
	require.NoError(t, conn.Open(jsonrpc2.Settings{InFlight: 1, Lost: func([]byte, error) {}}))
	ctx, drain := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = conn.ReadRequest(ctx)
	}()
	t.Cleanup(func() {
		drain()
		<-ended
		_ = conn.Close()
	})
	return conn, drain
}

// calls returns how often Redis has run each command.
func calls(t *testing.T, rdb *redis.Client) map[string]int {
	t.Helper()
	stats, err := rdb.InfoMap(t.Context(), "commandstats").Result()
	require.NoError(t, err)
	n := make(map[string]int)
	for command, text := range stats["Commandstats"] {
		value, _, _ := strings.Cut(strings.TrimPrefix(text, "calls="), ",")
		count, err := strconv.Atoi(value)
		require.NoError(t, err)
		n[strings.TrimPrefix(command, "cmdstat_")] = count
	}
	return n
}

// An idle server costs two commands in a period and two in a minute, besides its pop.
func TestAnnouncementsCost(t *testing.T) {
	t.Parallel()
	const period, periods = 50 * time.Millisecond, 20
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	_, _ = announcing(t, broker.Client(t), period)
	servicetest.Eventually(t, func() bool { return calls(t, rdb)["pexpire"] > 0 })
	servicetest.Eventually(t, func() bool { // its pop has a connection, too: to make one costs commands
		return strings.Contains(rdb.Info(t.Context(), "clients").Val(), "blocked_clients:1\r\n")
	})
	require.Equal(t, 1, calls(t, rdb)["zremrangebyscore"])
	begin := time.Now()
	require.NoError(t, rdb.ConfigResetStat(t.Context()).Err())
	servicetest.Eventually(t, func() bool { return calls(t, rdb)["pexpire"] >= periods })
	n := calls(t, rdb)
	took := time.Since(begin)
	most := int(took/period) + 1
	require.LessOrEqual(t, n["blmpop"], int(took/blockTime)+1)
	require.LessOrEqual(t, n["time"], 2, "once a minute, and again if that took long")
	require.LessOrEqual(t, n["zremrangebyscore"], 1)
	require.LessOrEqual(t, n["pexpire"], most)
	for _, other := range []string{"info", "config|resetstat", "blmpop", "time", "zremrangebyscore"} {
		delete(n, other)
	}
	require.Equal(t, map[string]int{"zadd": n["pexpire"], "pexpire": n["pexpire"]}, n)
}

// A server renews its announcement before that ends. One that dies is listed until then, and its
// key goes.
func TestAnnouncementEnds(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb, own := broker.Client(t), broker.Client(t)
	conn, _ := announcing(t, own, 50*time.Millisecond)
	listed := func() bool {
		found, err := Servers(t.Context(), rdb, "calc")
		require.NoError(t, err)
		return len(found) == 1
	}
	servicetest.Eventually(t, listed)
	quickest := math.Inf(1) // of ten renewals: a busy machine may make one late
	for range 10 {
		before, after := announcedUntil(t, rdb), 0.0
		servicetest.Eventually(t, func() bool { after = announcedUntil(t, rdb); return after > before })
		if before > 0 {
			quickest = min(quickest, after-before)
		}
	}
	require.Less(t, quickest, float64(conn.announcer.lasting().Milliseconds()), "renewed before it ends")
	require.NoError(t, own.Close())
	servicetest.Eventually(t, func() bool { return !listed() })
	servicetest.Eventually(t, func() bool { return rdb.Exists(t.Context(), serversKey("calc")).Val() == 0 })
}

// announcedUntil returns when the only announcement ends, 0 if there is none.
func announcedUntil(t *testing.T, rdb *redis.Client) float64 {
	t.Helper()
	found, err := rdb.ZRangeWithScores(t.Context(), serversKey("calc"), 0, -1).Result()
	require.NoError(t, err)
	if len(found) == 0 {
		return 0
	}
	return found[0].Score
}

// A drained server does not announce itself any more.
func TestNotAnnouncedAfterDrain(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	conn, drain := announcing(t, rdb, time.Millisecond)
	servicetest.Eventually(t, func() bool { return calls(t, rdb)["zadd"] > 10 })
	drain()
	conn.announcing.Wait()
	require.NoError(t, rdb.ConfigResetStat(t.Context()).Err())
	require.Zero(t, rdb.Exists(t.Context(), serversKey("calc")).Val())
	require.NoError(t, conn.Close())
	require.Zero(t, calls(t, rdb)["zadd"])
}

// A server that could not learn the time asks again at once, not after the minute for which
// an answer counts.
func TestAnnouncedOnceTimeIsKnown(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	conn := newServerConn(rdb, "calc", ListenOptions{Logger: servicetest.Quiet})
	a := conn.announcer
	tell, failures := a.clock.ask, 2
	a.clock.ask = func() (time.Time, error) {
		if failures--; failures >= 0 {
			return time.Time{}, context.DeadlineExceeded
		}
		return tell()
	}
	a.member = a.describe()
	require.ErrorIs(t, a.announce(), context.DeadlineExceeded)
	require.ErrorIs(t, a.announce(), context.DeadlineExceeded)
	require.NoError(t, a.announce())
	found, err := Servers(t.Context(), rdb, "calc")
	require.NoError(t, err)
	require.Len(t, found, 1)
}
