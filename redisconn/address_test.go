package redisconn_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// add is a request to be answered on a list.
func add(list string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"1","reply_to":%q,"method":"add","params":[1,5.1]}`, list)
}

const six = `{"jsonrpc":"2.0","id":"1","result":6.1}`

func TestReplyAddress(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	serve(t, rdb, nil)
	long := strings.Repeat("x", 255)
	for _, test := range []struct{ name, request, list, reply string }{
		{"reply_to", add("there"), "there", six},
		{"reply_to before id", `{"jsonrpc":"2.0","id":"here","reply_to":"there","method":"add","params":[1,5.1]}`,
			"there", `{"jsonrpc":"2.0","id":"here","result":6.1}`},
		{"string id", `{"jsonrpc":"2.0","id":"here","method":"add","params":[1,5.1]}`,
			"here", `{"jsonrpc":"2.0","id":"here","result":6.1}`},
		{"escaped", `{"jsonrpc":"2.0","id":1,"reply_to":"caf\u00e9","method":"add","params":[1,5.1]}`,
			"café", `{"jsonrpc":"2.0","id":1,"result":6.1}`},
		{"reply_to is no string", `{"jsonrpc":"2.0","id":"here","reply_to":7,"method":"add","params":[1,5.1]}`,
			"here", `{"jsonrpc":"2.0","id":"here","result":6.1}`},
		{"reply_to is empty", `{"jsonrpc":"2.0","id":"here","reply_to":"","method":"add","params":[1,5.1]}`,
			"here", `{"jsonrpc":"2.0","id":"here","result":6.1}`},
		{"number id", `{"jsonrpc":"2.0","id":1,"reply_to":"there","method":"add","params":[1,5.1]}`,
			"there", `{"jsonrpc":"2.0","id":1,"result":6.1}`},
		{"255 bytes", add(long), long, six},
		{"batch by its first reply_to",
			`[{"jsonrpc":"2.0","id":"here","reply_to":"there","method":"add","params":[1,5.1]},` +
				`{"jsonrpc":"2.0","id":"x","reply_to":"y","method":"add","params":[1,1]}]`,
			"there", `[{"jsonrpc":"2.0","id":"here","result":6.1},{"jsonrpc":"2.0","id":"x","result":2}]`},
		{"batch by its first string id",
			`[{"jsonrpc":"2.0","id":1,"method":"add","params":[1,5.1]},` +
				`{"jsonrpc":"2.0","id":"here","method":"add","params":[1,1]}]`,
			"here", `[{"jsonrpc":"2.0","id":1,"result":6.1},{"jsonrpc":"2.0","id":"here","result":2}]`},
		{"batch with invalid items",
			`[1,{"jsonrpc":"2.0","id":"here","method":"add","params":[1,1]}]`, "here",
			`[{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request: not an object"}},` +
				`{"jsonrpc":"2.0","id":"here","result":2}]`},
		{"invalid request", `{"jsonrpc":"1.0","id":"here","method":"add"}`, "here",
			`{"jsonrpc":"2.0","id":"here","error":{"code":-32600,"message":"invalid request: member \"jsonrpc\" must be \"2.0\""}}`},
	} {
		push(t, rdb, test.request)
		reply := pop(t, rdb, test.list)
		if strings.HasPrefix(reply, "[") { // in any order
			require.Len(t, reply, len(test.reply), test.name)
			continue
		}
		require.Equal(t, test.reply, reply, test.name)
	}
	push(t, rdb, `{"id":"here","jsonrpc":"2.0","method":`) // cut, yet it says whom to answer
	require.Contains(t, pop(t, rdb, "here"), `"id":null,"error":{"code":-32700`)
	requireOnlyServers(t, rdb)
}

// A stranger's request whose answer can go nowhere does no harm. It is not run if it expects an
// answer.
func TestUnusableAddress(t *testing.T) {
	t.Parallel()
	type counts = redisconn.ServerStats
	for _, test := range []struct {
		name, request string
		want          counts
		runs          int64
	}{
		{"number id", `{"jsonrpc":"2.0","id":1,"method":"Counter.Count"}`, counts{NoAddress: 1}, 0},
		{"null id", `{"jsonrpc":"2.0","id":null,"method":"Counter.Count"}`, counts{NoAddress: 1}, 0},
		{"256 bytes", count(strings.Repeat("x", 256)), counts{NoAddress: 1}, 0},
		{"giant address", count(strings.Repeat("x", 1<<20)), counts{NoAddress: 1}, 0},
		{"batch of number ids", `[{"jsonrpc":"2.0","id":1,"method":"Counter.Count"},{"jsonrpc":"2.0","id":2,"method":"Counter.Count"}]`,
			counts{NoAddress: 1}, 0},
		{"garbage", "-{garbage", counts{NoAddress: 1}, 0},
		{"NULs", strings.Repeat("\x00", 1000), counts{NoAddress: 1}, 0},
		{"nothing", "", counts{NoAddress: 1}, 0},
		{"empty batch", "[]", counts{NoAddress: 1}, 0},
		{"deep nesting", strings.Repeat("[", 100_000), counts{NoAddress: 1}, 0},
		{"its queue", count(queue), counts{Refused: 1}, 0},
		{"its own keys", count("{calc}:wake:1"), counts{Refused: 1}, 0},
		{"another queue's dead", count("{us:other}:dead"), counts{Refused: 1}, 0},
		{"another queue's fetcher", count("us:{other}:wake:1"), counts{Refused: 1}, 0},
		{"another queue's workers", count("us:{0}a}b:workers"), counts{Refused: 1}, 0},
		{"outside the prefix", count("stranger"), counts{Refused: 1}, 0},
		{"result", `{"jsonrpc":"2.0","id":"us:1","reply_to":"us:2","result":6.1}`, counts{}, 0},
		{"error", `{"jsonrpc":"2.0","id":null,"reply_to":"us:2","error":{"code":-32700,"message":"x"}}`, counts{}, 0},
		{"batch of responses", `[{"jsonrpc":"2.0","id":"us:1","reply_to":"us:2","result":6.1}]`, counts{}, 0},
		{"notification", `{"jsonrpc":"2.0","method":"Counter.Count"}`, counts{}, 1},
		{"notification with a bad address", `{"jsonrpc":"2.0","reply_to":"calc","method":"Counter.Count"}`, counts{}, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			rdb := brokertest.StartRedis(t).Client(t)
			var log servicetest.LogBook
			counter := new(servicetest.Counter)
			w := serveWith(t, rdb, &redisconn.ListenOptions{ReplyPrefix: "us:", Logger: log.Logger()},
				&jsonrpc2.ServerOptions{Logger: log.Logger()}, counter)
			push(t, rdb, test.request, add("us:there"))
			require.Equal(t, six, pop(t, rdb, "us:there"))
			w.End(t)

			got := w.conn.Stats()
			require.Equal(t, counts{Requests: 2, Replies: 1, NoAddress: test.want.NoAddress, Refused: test.want.Refused}, got)
			require.Equal(t, test.runs, counter.N.Load())
			if test.runs == 0 {
				require.Equal(t, 1, log.Count("level=WARN"), &log)
			}
			requireEmpty(t, rdb)
		})
	}
}

// count is a call of a Counter.
func count(list string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"1","reply_to":%q,"method":"Counter.Count"}`, list)
}

// An address of another type gets no answer and keeps its value and its expiry.
// The other answers of the same round go out.
func TestReplyToAnotherType(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	var log servicetest.LogBook
	slow := servicetest.NewSlow()
	var stats jsonrpc2.ServerStats
	w := serveWith(t, rdb, nil, &jsonrpc2.ServerOptions{Logger: log.Logger(), Stats: &stats}, slow)
	require.NoError(t, rdb.Set(ctx, "string", "kept", 0).Err())
	require.NoError(t, rdb.SAdd(ctx, "set", "kept").Err())
	for i := range 10 {
		push(t, rdb, wait(1, fmt.Sprint("good", i)), wait(1, "string"), wait(1, "set"))
	}
	slow.RequireRunning(t, 30)
	slow.Open()
	for i := range 10 {
		require.Contains(t, pop(t, rdb, fmt.Sprint("good", i)), `"result":1`)
	}
	push(t, rdb, add("after"))
	require.Equal(t, six, pop(t, rdb, "after"))
	servicetest.Eventually(t, func() bool { return w.conn.Stats().Undelivered == 20 })
	servicetest.Eventually(t, func() bool { return stats.Snapshot().LostReplies == 20 })
	require.Zero(t, stats.Snapshot().Dropped)
	servicetest.Eventually(t, func() bool { return log.Count("WRONGTYPE") > 0 })
	require.Equal(t, "kept", rdb.Get(ctx, "string").Val())
	require.Equal(t, []string{"kept"}, rdb.SMembers(ctx, "set").Val())
	require.EqualValues(t, -1, rdb.TTL(ctx, "string").Val())
	require.EqualValues(t, -1, rdb.TTL(ctx, "set").Val())
	require.Zero(t, w.conn.Stats().Reconnects)
}

// wait is a call of a Slow.
func wait(n int, list string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"%d","reply_to":%q,"method":"Slow.Wait","params":[%d]}`, n, list, n)
}

func TestReplyExpiry(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	serve(t, rdb, &redisconn.ListenOptions{ReplyTTL: 40 * time.Minute, Logger: servicetest.Quiet})
	ttl := func(list string) time.Duration { return rdb.PTTL(ctx, list).Val() }
	answered := func(list string, n int64) {
		t.Helper()
		push(t, rdb, add(list))
		requireLen(t, rdb, list, n)
	}

	answered("new", 1)
	require.InDelta(t, 40*time.Minute, ttl("new"), float64(servicetest.Soon))

	require.NoError(t, rdb.LPush(ctx, "lasting", "stranger's").Err())
	answered("lasting", 2)
	require.EqualValues(t, -1, ttl("lasting"))
	require.Equal(t, []string{"stranger's", six}, rdb.LRange(ctx, "lasting", 0, -1).Val())

	own := redisconn.DefaultReplyPrefix + "list"
	answered(own, 1)
	require.InDelta(t, 40*time.Minute, ttl(own), float64(servicetest.Soon))
	require.NoError(t, rdb.Persist(ctx, own).Err()) // a reply list by its name
	answered(own, 2)
	require.InDelta(t, 40*time.Minute, ttl(own), float64(servicetest.Soon))

	require.NoError(t, rdb.LPush(ctx, "expiring", "before").Err())
	require.NoError(t, rdb.Expire(ctx, "expiring", 100*time.Minute).Err())
	answered("expiring", 2)
	require.InDelta(t, 40*time.Minute, ttl("expiring"), float64(servicetest.Soon))
}

func TestReplyExpires(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	w := serve(t, rdb, &redisconn.ListenOptions{ReplyTTL: 100 * time.Millisecond, Logger: servicetest.Quiet})
	for n := int64(1); w.conn.Stats().Replies == 0; n++ { // a machine that stalls may let an answer expire unsent
		require.Less(t, n, int64(20))
		push(t, rdb, add("abandoned"))
		servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies+w.conn.Stats().Expired == n })
	}
	servicetest.Eventually(t, func() bool { return rdb.Exists(context.Background(), "abandoned").Val() == 0 })
}

// By default an answer is kept for 30 seconds.
func TestDefaultReplyTTL(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	serve(t, rdb, nil)
	push(t, rdb, add("there"))
	requireLen(t, rdb, "there", 1)
	require.InDelta(t, redisconn.DefaultReplyTTL, rdb.PTTL(context.Background(), "there").Val(), float64(20*time.Second))
}

// Another service's queue may be named as a reply list: it gets the response,
// which its servers drop, and nothing else.
func TestReplyToAnotherQueue(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	w := serve(t, rdb, nil)
	other := []string{"theirs 2", "theirs 1"}
	require.NoError(t, rdb.RPush(ctx, "other", other[0], other[1]).Err())
	push(t, rdb, add("other"))
	requireLen(t, rdb, "other", 3)
	require.Equal(t, append(other, six), rdb.LRange(ctx, "other", 0, -1).Val())
	require.EqualValues(t, -1, rdb.TTL(ctx, "other").Val())
	w.End(t)
}
