package redisconn_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A request may name as its reply list the queue of another service, while that is empty. What
// others push there behind our answer lasts: formerly it vanished with the answer. An answer that
// is alone expires.
func TestReplyToAnEmptyQueue(t *testing.T) {
	t.Parallel()
	const ttl = 5 * time.Second // time enough to push
	atOnce := func(*worker, *testing.T) {}
	for _, test := range []struct {
		name    string
		rules   []string
		opts    redisconn.ListenOptions
		entry   string
		after   func(*worker, *testing.T)
		removed bool // our answer is
	}{
		{name: "requests", entry: add("theirs"), removed: true},
		{name: "jobs", entry: `{"class":"Job","args":["result"]}`, removed: true},
		{name: "texts", entry: "result", removed: true},
		{name: "at least once", entry: add("theirs"), opts: redisconn.ListenOptions{Guarantee: jsonrpc2.AtLeastOnce}, removed: true},
		{name: "the server is closed", entry: add("theirs"), after: (*worker).End, removed: true},
		{name: "without scripts", rules: []string{"-@scripting"}, entry: add("theirs")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if test.after == nil {
				test.after = atOnce
			}
			broker := brokertest.StartRedis(t)
			admin := broker.Client(t)
			test.opts.ReplyTTL, test.opts.Logger = ttl, servicetest.Quiet
			w := serve(t, restricted(t, broker, admin, test.rules...), &test.opts)
			push(t, admin, add("other"), add("alone"), add("taken"))
			require.Equal(t, six, pop(t, admin, "taken"))
			requireLen(t, admin, "other", 1)
			requireLen(t, admin, "alone", 1)
			servicetest.Eventually(t, func() bool { return admin.PTTL(t.Context(), "other").Val() > 0 }) // after the push, without scripts
			var entries []any
			for i := range 100 {
				entries = append(entries, test.entry+fmt.Sprint(i))
			}
			require.NoError(t, admin.LPush(t.Context(), "other", entries...).Err())
			test.after(w, t)
			servicetest.Eventually(t, func() bool { return admin.Exists(t.Context(), "alone").Val() == 0 })
			servicetest.Eventually(t, func() bool { return admin.PTTL(t.Context(), "other").Val() == -1 })
			left := admin.LRange(t.Context(), "other", 0, -1).Val()
			require.Len(t, left, 100+btoi(!test.removed))
			require.Equal(t, test.entry+"0", left[99])
		})
	}
}

// Answers of several servers on one list that nobody takes do not last, whoever
// looks at them.
func TestAnswersOfSeveralServersExpire(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	opts := func() *redisconn.ListenOptions {
		return &redisconn.ListenOptions{ReplyTTL: time.Second, Prefetch: 1, Logger: servicetest.Quiet}
	}
	workers := []*worker{serve(t, rdb, opts()), serve(t, rdb, opts())}
	another := func() int64 { // that of a server elsewhere; the list must not be new
		return rdb.RPushX(t.Context(), "abandoned", `{"id":"9f86d081884c7d65","result":6.1,"jsonrpc":"2.0"}`).Val()
	}
	begin := time.Now()
	for workers[0].conn.Stats().Replies == 0 || workers[1].conn.Stats().Replies == 0 || another() == 0 {
		require.Less(t, time.Since(begin), servicetest.Soon)
		push(t, rdb, add("abandoned"))
		time.Sleep(servicetest.Tick)
	}
	servicetest.Eventually(t, func() bool { return rdb.Exists(t.Context(), "abandoned").Val() == 0 })
}

// The looks cost one command for each list that was taken, and none for those that
// are reply lists by their names.
func TestLooksAreCheap(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	serve(t, rdb, &redisconn.ListenOptions{ReplyTTL: 5 * time.Second, ReplyPrefix: "", Logger: servicetest.Quiet})
	c := dial(t, rdb, nil, 0)
	c.requireAdds(t)
	for i := range 10 {
		list := fmt.Sprint("list", i)
		push(t, rdb, add(list))
		require.Equal(t, six, pop(t, rdb, list))
	}
	require.NoError(t, rdb.ConfigResetStat(t.Context()).Err())
	servicetest.Eventually(t, func() bool { return scripts(rdb) > 0 })
	require.LessOrEqual(t, commandCalls(rdb, "evalsha"), 10) // those of the first look are sent by their text, too
	require.LessOrEqual(t, commandCalls(rdb, "eval"), 10)
	require.Zero(t, commandCalls(rdb, "lrange"))
}

func scripts(rdb *redis.Client) int { return commandCalls(rdb, "evalsha") + commandCalls(rdb, "eval") }
