package redisconn_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/heap"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

const limit = jsonrpc2.DefaultMaxMessageSize

// TestHostileRequests pushes what a hostile client can think of. Requests that name a reply list
// are answered, and the server serves on.
func TestHostileRequests(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	serve(t, rdb, nil)
	const to = `"reply_to":"there"`
	const long = `{` + to + `,"id":1,"jsonrpc":"2.0","method":"add","params":[1,5.1],"a":"`
	items := func(item string) string { return `[{` + to + `,"id":"x"}` + strings.Repeat(","+item, 999) + `]` }
	for _, test := range []struct {
		name, request, answer string
		times                 int // so often is answer in it
	}{
		{"nesting", `{` + to + `,"id":1,"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`, "nesting exceeds the limit of 500", 1},
		{"broken nesting", `{` + to + `,"id":1,"a":` + strings.Repeat(`{"a":[`, 100_000), "-32600", 1},
		{"NULs", `{` + to + `,"id":1` + strings.Repeat("\x00", 10_000) + `}`, "-32700", 1},
		{"NULs in a string", `{` + to + `,"id":"` + "\x00" + `"}`, "-32700", 1},
		{"invalid UTF-8", `{` + to + `,"id":"` + strings.Repeat("\xff", 10_000) + `"}`, "-32700", 1},
		{"as long as may be", long + strings.Repeat("x", limit-len(long)-2) + `"}`, "6.1", 1},
		{"too long", `{` + to + `,"id":1,"a":"` + strings.Repeat("x", limit) + `"}`, "exceeds the limit of 4194304 bytes", 1},
		{"empty values", `{` + to + `,"id":"","jsonrpc":"","method":"","params":{}}`, "-32600", 1},
		{"no method", `{` + to + `,"id":"","jsonrpc":"2.0","method":""}`, "-32601", 1},
		{"huge id", `{` + to + `,"id":"` + strings.Repeat("x", 1<<18) + `","jsonrpc":"2.0","method":"add","params":[1,5.1]}`, "6.1", 1},
		{"huge number", `{` + to + `,"id":` + strings.Repeat("9", 1<<18) + `,"jsonrpc":"2.0","method":"add","params":[1,5.1]}`, "6.1", 1},
		{"huge method", `{` + to + `,"id":1,"jsonrpc":"2.0","method":"` + strings.Repeat("x.", 1<<17) + `"}`, "-32601", 1},
		{"duplicate id", `{` + to + `,"id":1,"id":2,"jsonrpc":"2.0","method":"add","params":[1,5.1]}`, "-32600", 1},
		{"duplicate method", `{` + to + `,"id":1,"jsonrpc":"2.0","method":"add","method":"subtract"}`, "-32600", 1},
		{"duplicate address", `{` + to + `,"reply_to":"elsewhere","id":1,"jsonrpc":"2.0","method":"add","params":[1,5.1]}`, "6.1", 1},
		{"batch of garbage", items(`"x"`), "-32600", 1000},
		{"batch of batches", items(`[{"jsonrpc":"2.0","id":1,"method":"add"}]`), "-32600", 1000},
		{"batch of unknown methods", items(`{"jsonrpc":"2.0","id":1,"method":"a.b"}`), "-32601", 999},
		{"batch of too many", items(`1,1`), "batch exceeds the limit of 1000 items", 1},
	} {
		push(t, rdb, test.request)
		require.Equal(t, test.times, strings.Count(pop(t, rdb, "there"), test.answer), test.name)
		push(t, rdb, add("after"))
		require.Equal(t, six, pop(t, rdb, "after"), test.name)
	}
	requireOnlyServers(t, rdb)
}

// A flood of messages as large as may be takes no more memory than Prefetch of
// them need, and a buffer or two, while methods hold their params. It runs beside
// no other test, as the memory is everybody's.
func TestFloodOfRequests(t *testing.T) {
	rdb := brokertest.StartRedis(t).Client(t)
	const prefetch, flood = 2, 8
	slow := servicetest.NewSlow()
	w := serve(t, rdb, &redisconn.ListenOptions{Prefetch: prefetch, Logger: servicetest.Quiet}, servicetest.Hold{Slow: slow})
	push(t, rdb, add("before"))
	require.Equal(t, six, pop(t, rdb, "before"))
	before := heap.Live()
	request := `{"jsonrpc":"2.0","id":1,"reply_to":"there","method":"Hold.Text","params":["` + strings.Repeat("x", limit-100) + `"]}`
	push(t, rdb, slices.Repeat([]string{request}, flood)...) // many are taken at once
	request = ""
	slow.RequireRunning(t, prefetch)
	grown := heap.Live() - before
	t.Logf("%d bytes more for %d messages of %d", grown, prefetch, limit)
	require.Less(t, grown, (prefetch+3)*limit)
	requireLen(t, rdb, queue, flood-prefetch)
	slow.Open()
	requireLen(t, rdb, "there", flood)
	servicetest.Eventually(t, func() bool { return heap.Live()-before < 4*limit }, "nothing is kept when all is answered")
	w.End(t)
}

// Servers that are made to answer one another's queues drop what comes: each
// answer, error or not, goes one way and no further.
func TestAnswersToAnotherServer(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	w := serve(t, rdb, nil)
	other := serveOther(t, rdb)
	for i, request := range []string{
		`{"jsonrpc":"2.0","id":"$","method":"add","params":[1,5.1]}`,
		`{"jsonrpc":"2.0","id":"$","method":"gone"}`,
		`{"jsonrpc":"2.0","id":"$","method":"add","params":["x"]}`,
		`{"jsonrpc":"1.0","id":"$","method":"add"}`,
		`{"jsonrpc":"2.0","id":"$","method":`,
		`{"jsonrpc":"2.0","reply_to":"$","id":null,"method":"add","params":[1,2]}`,
		`{"jsonrpc":"2.0","reply_to":"$","id":{"method":"add"},"method":"add"}`,
		`[{"jsonrpc":"2.0","id":"$","method":"add","params":[1,2]},1,{"jsonrpc":"2.0","id":"x","method":"gone"}]`,
	} {
		require.NoError(t, rdb.LPush(ctx, queue, strings.Replace(request, "$", "other", 1)).Err())
		require.NoError(t, rdb.LPush(ctx, "other", strings.Replace(request, "$", queue, 1)).Err())
		for _, w := range []*worker{w, other} { // its request, and the other's answer
			servicetest.Eventually(t, func() bool { return w.conn.Stats().Requests == int64(2*i+2) }, request)
			servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies == int64(i+1) }, request)
		}
	}
	sent := redisconn.ServerStats{Requests: 16, Replies: 8}
	servicetest.EventuallyEqual(t, sent, w.conn.Stats)
	servicetest.EventuallyEqual(t, sent, other.conn.Stats)
	w.End(t)
	other.End(t)
	require.Equal(t, sent, w.conn.Stats(), "nothing more was said")
	require.Equal(t, sent, other.conn.Stats(), "nothing more was said")
	requireEmpty(t, rdb)
}

// serveOther serves Calc on another queue.
func serveOther(t *testing.T, rdb redis.UniversalClient) *worker {
	t.Helper()
	conn := mustListen(t, rdb, "other", &redisconn.ListenOptions{Logger: servicetest.Quiet})
	return &worker{servicetest.Serve(t, conn, jsonrpc2.ServerOptions{Logger: servicetest.Quiet}), conn}
}

// A batch of a thousand slow calls occupies the server that took it: what that
// server had taken behind it, at most Prefetch - 1 messages, waits until all
// items have begun. Other servers answer the rest meanwhile. When places get
// free, everything is answered.
func TestGiantBatchHoldsUpItsServer(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	const places, items, calls = 4, 1000, 50
	slow := servicetest.NewSlow()
	codec := &jsonrpc2.ServerOptions{MaxInFlight: places, Logger: servicetest.Quiet}
	serveWith(t, rdb, nil, codec, slow)
	push(t, rdb, "["+strings.Join(waits(items, "batch"), ",")+"]")
	slow.RequireRunning(t, places)
	second := serveWith(t, rdb, nil, codec)
	for i := range calls {
		push(t, rdb, add(fmt.Sprint("other", i)))
	}
	answered := func() int {
		return int(rdb.Exists(context.Background(), lists(calls)...).Val())
	}
	servicetest.Eventually(t, func() bool { // an answer is counted when it is known to be there
		n := answered()
		return n >= calls-(places-1) && int64(n) == second.conn.Stats().Replies
	}, "all by the other server")
	require.EqualValues(t, places, slow.Running.Load())
	slow.Open()
	require.Equal(t, items, strings.Count(pop(t, rdb, "batch"), `"result":`))
	servicetest.Eventually(t, func() bool { return answered() == calls })
}

// lists are the reply lists of so many calls.
func lists(n int) (names []string) {
	for i := range n {
		names = append(names, fmt.Sprint("other", i))
	}
	return names
}

// TestHostileReplies puts on a client's reply list what a hostile server can
// think of: calls are answered among all of it.
func TestHostileReplies(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	c, stranger := dial(t, rdb, nil, time.Hour), dial(t, rdb, nil, time.Hour)
	calling := make(chan error, 1)
	go func() { calling <- servicetest.AddMany(c.Client, 1, 1) }()
	request := pop(t, rdb, queue)
	list, id := member(t, request, "reply_to"), member(t, request, "id")
	theirs := stranger.Go("Calc.Add", []float64{1, 2}, new(float64), nil)
	strangersID := member(t, pop(t, rdb, queue), "id")
	for name, reply := range map[string]string{
		"NULs":              strings.Repeat("\x00", 10_000),
		"invalid UTF-8":     `{"id":"` + id + "\xff" + `"}`,
		"nesting":           strings.Repeat("[", 100_000),
		"closed nesting":    strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		"too long":          strings.Repeat(" ", limit+1),
		"another's id":      `{"jsonrpc":"2.0","id":"` + strangersID + `","result":1}`,
		"our id, extended":  `{"jsonrpc":"2.0","id":"` + id + `0","result":1}`,
		"our id, escaped":   `{"jsonrpc":"2.0","id":"\u00` + fmt.Sprintf("%x", id[0]) + id[1:] + `","result":1}`,
		"our id in a batch": `[["` + id + `"]]`,
		"batch of millions": "[1" + strings.Repeat(",1", limit/16) + "]",
		"nameless error":    `{"jsonrpc":"2.0","id":null,"error":{"code":"x","message":[]}}`,
		"request":           `{"jsonrpc":"2.0","id":"` + id + `","method":"add","params":[1,2]}`,
	} {
		require.NoError(t, rdb.RPush(ctx, list, reply).Err())
		requireLen(t, rdb, list, 0)
		require.Empty(t, calling, name)
	}
	right := `{"jsonrpc":"2.0","id":"` + id + `","result":1}`
	require.NoError(t, rdb.RPush(ctx, list, right).Err())
	require.NoError(t, <-calling)
	require.Empty(t, theirs.Done)

	for _, odd := range []string{`null`, `7`, `"text"`, `[]`, `{}`, `{"code":{}}`, `{"code":1e99,"message":null}`, strings.Repeat(" ", 1000) + `true`} {
		go func() { calling <- servicetest.AddMany(c.Client, 1, 1) }()
		id := member(t, pop(t, rdb, queue), "id")
		require.NoError(t, rdb.RPush(ctx, list, `{"jsonrpc":"2.0","id":"`+id+`","error":`+odd+`}`).Err())
		require.Error(t, <-calling, odd)
	}
	serve(t, rdb, nil)
	duplicates := make([]any, 10_000)
	for i := range duplicates {
		duplicates[i] = right
	}
	for range 10 {
		require.NoError(t, rdb.RPush(ctx, list, duplicates...).Err())
		c.requireAdds(t)
	}
}

// A flood of answers as large as may be, and larger, does not fill a client's
// memory. It runs beside no other test.
func TestFloodOfReplies(t *testing.T) {
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	c := dial(t, rdb, nil, time.Minute)
	call := c.Go("Calc.Add", []float64{1, 5.1}, new(float64), nil)
	request := pop(t, rdb, queue)
	list, id := member(t, request, "reply_to"), member(t, request, "id")
	before := heap.Live()
	flood := func(length int) {
		text := `{"jsonrpc":"2.0","id":"x","result":"` + strings.Repeat("x", length) + `"}`
		for range 20 {
			require.NoError(t, rdb.RPush(ctx, "flood", text).Err())
		}
	}
	flood(limit - 100)
	flood(limit)
	require.NoError(t, rdb.RPush(ctx, "flood", `{"jsonrpc":"2.0","id":"`+id+`","result":6.1}`).Err())
	require.NoError(t, rdb.Rename(ctx, "flood", list).Err()) // all at once
	for len(call.Done) == 0 {
		require.Less(t, heap.Live()-before, 12*limit)
	}
	require.NoError(t, call.Error)
	serve(t, rdb, nil)
	c.requireAdds(t)
}
