package redisconn_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A process that is stopped while it waits for requests, for longer than its lease,
// takes none with it: not the one that Redis gave it while it stood, nor those that
// came when it was taken over. Formerly the next request went to a list at which nobody
// looked again.
func TestStoppedWhileWaiting(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*testing.T, victim, *worker){
		"continued": func(t *testing.T, v victim, other *worker) {
			v.Cont()
			servicetest.Eventually(t, func() bool { return len(generations(t, v.rdb)) == 2 }, "it has not joined again")
			other.End(t)
			push(t, v.rdb, noted("Run", 5))
			requireAnswered(t, v.rdb, 5)
			v.Drain()
			require.Equal(t, map[int]int{5: 1}, v.runs(t))
		},
		"killed": func(t *testing.T, v victim, other *worker) {
			v.Kill()
			push(t, v.rdb, noted("Run", 5))
			requireAnswered(t, v.rdb, 5)
			other.End(t)
			require.Empty(t, v.runs(t))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			rdb := broker.Client(t)
			for range 2 {
				v := startVictim(t, broker)
				v.Stop()
				push(t, rdb, noted("Run", 1)) // the move that waits takes it
				v.requireHolds(t, 1)
				other, notes := serveOpen(t, rdb)
				requireAnswered(t, rdb, 1)
				require.NotContains(t, generations(t, rdb), v.gen)
				for n := 2; n <= 4; n++ {
					push(t, rdb, noted("Run", n))
					requireAnswered(t, rdb, n)
				}
				end(t, v, other)
				for n := 1; n <= 5; n++ {
					require.Equal(t, 1, v.runs(t)[n]+notes.runs(t)[n], "runs of %d", n)
				}
				requireEmptyAfter(t, rdb, name == "killed")
			}
		})
	}
}

// What a busy process holds when it is stopped or killed runs elsewhere, and is
// answered once. One that is continued ends what it runs, but starts nothing that it
// holds no more: the request that waits behind a batch which needs all places.
func TestStoppedWhileBusy(t *testing.T) {
	t.Parallel()
	const items = jsonrpc2.DefaultMaxInFlight + 1
	var batch []string
	for n := range items {
		batch = append(batch, noted("Wait", n))
	}
	for name, end := range map[string]func(*testing.T, victim, *worker){
		"continued": func(t *testing.T, v victim, other *worker) {
			v.open(t)
			v.Cont()
			servicetest.Eventually(t, func() bool { return len(generations(t, v.rdb)) == 2 }, "it has not joined again")
			other.End(t)
			push(t, v.rdb, noted("Run", items+1)) // is read behind the one that waited
			requireAnswered(t, v.rdb, items+1)
			v.Drain()
			require.Equal(t, 1, v.runs(t)[items+1])
		},
		"killed": func(t *testing.T, v victim, other *worker) {
			v.Kill()
			other.End(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			rdb := broker.Client(t)
			v := startVictim(t, broker)
			push(t, rdb, "["+strings.Join(batch, ",")+"]", noted("Run", items))
			servicetest.Eventually(t, func() bool { return len(v.runs(t)) == items-1 })
			v.requireHolds(t, 2)
			v.Stop()
			other, notes := serveOpen(t, rdb)
			require.Equal(t, items, strings.Count(pop(t, rdb, "there"), `"result"`))
			requireAnswered(t, rdb, items)
			end(t, v, other)
			require.Zero(t, v.runs(t)[items])
			require.Len(t, notes.runs(t), items+1)
			requireEmptyAfter(t, rdb, name == "killed")
		})
	}
}

// Processes that are stopped or killed at any moment of a load lose no request, and
// have each answered once: what they held runs once more, and the rest unrepeated.
func TestStoppedUnderLoad(t *testing.T) {
	t.Parallel()
	const rounds, requests = 2, 200
	for name, kills := range map[string]bool{"continued": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			rdb := broker.Client(t)
			for range rounds {
				v := startVictim(t, broker)
				for n := range requests {
					push(t, rdb, noted("Run", n))
				}
				other, notes := serveOpen(t, rdb)
				<-time.After(rand.N(20 * time.Millisecond))
				v.Stop()
				if kills {
					v.Kill()
				}
				requireAllAnswered(t, rdb, requests)
				servicetest.Eventually(t, func() bool { return !slices.Contains(generations(t, rdb), v.gen) }, "it is not taken over")
				if !kills {
					v.Cont()
					servicetest.Eventually(t, func() bool { return len(generations(t, rdb)) == 2 }, "it has not joined again")
					v.Drain()
				}
				other.End(t)
				requireRunOnce(t, requests, v.runs(t), notes.runs(t))
				requireEmptyAfter(t, rdb, kills)
			}
		})
	}
}

// requireEmptyAfter requires that no key is left but the announcement of a process that was
// killed.
func requireEmptyAfter(t *testing.T, rdb *redis.Client, killed bool) {
	t.Helper()
	if killed {
		requireOnlyServers(t, rdb)
	} else {
		requireEmpty(t, rdb)
	}
}

// requireRunOnce requires that each of n requests ran, once by each of two servers at
// most, and by both if it was under way in one of them.
func requireRunOnce(t *testing.T, n int, ones, others map[int]int) {
	t.Helper()
	both := 0
	for i := range n {
		require.LessOrEqual(t, max(ones[i], others[i]), 1, "runs of %d", i)
		require.NotZero(t, ones[i]+others[i], "%d did not run", i)
		both += ones[i] + others[i] - 1
	}
	require.LessOrEqual(t, both, redisconn.DefaultPrefetch)
}

// requireAllAnswered awaits the answers to n requests, in any order, one each.
func requireAllAnswered(t *testing.T, rdb *redis.Client, n int) {
	t.Helper()
	answered := make(map[string]bool)
	for range n {
		answered[pop(t, rdb, "there")] = true
	}
	for i := range n {
		require.True(t, answered[fmt.Sprintf(`{"jsonrpc":"2.0","id":"%[1]d","result":%[1]d}`, i)], "no answer to %d", i)
	}
}
