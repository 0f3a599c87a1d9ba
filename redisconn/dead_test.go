package redisconn_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/deadtest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

func TestDeadList(t *testing.T) {
	t.Parallel()
	deadtest.Run(t, func(t *testing.T) deadtest.Site { return newDeadSite(t, brokertest.StartRedis(t)) })
}

// A deadSite is the queue on a Redis.
type deadSite struct {
	addr string
	rdb  *redis.Client
}

func newDeadSite(t *testing.T, broker *brokertest.Redis) deadSite {
	return deadSite{broker.Addr, broker.Client(t)}
}

// List implements deadtest.Site.
func (s deadSite) List(t *testing.T, dial deadtest.Dial) jsonrpc2.DeadList {
	opts := &redis.Options{Addr: s.addr}
	if dial != nil {
		opts.Dialer = func(_ context.Context, network, addr string) (net.Conn, error) { return dial(network, addr) }
	}
	rdb := redis.NewClient(opts)
	t.Cleanup(func() { _ = rdb.Close() })
	return redisconn.NewDeadList(rdb, queue)
}

// Bury implements deadtest.Site.
func (s deadSite) Bury(t *testing.T, requests ...string) {
	t.Helper()
	for _, request := range requests {
		require.NoError(t, s.rdb.LPush(t.Context(), deadKey, `{"time":1000,"attempts":1,"reason":"r"}`+"\n"+request).Err())
	}
}

// Push implements deadtest.Site.
func (s deadSite) Push(t *testing.T, requests ...string) {
	t.Helper()
	push(t, s.rdb, requests...)
}

// Drain implements deadtest.Site.
func (s deadSite) Drain(t *testing.T) (requests []string) {
	t.Helper()
	for {
		request, err := s.rdb.RPop(t.Context(), queue).Result()
		if errors.Is(err, redis.Nil) {
			return requests
		}
		require.NoError(t, err)
		requests = append(requests, request)
	}
}

// Break implements deadtest.Site.
func (s deadSite) Break(t *testing.T) (mend func()) {
	t.Helper()
	require.NoError(t, s.rdb.Set(t.Context(), queue, "no list", 0).Err())
	return func() { require.NoError(t, s.rdb.Del(t.Context(), queue).Err()) }
}

// A batch that kills its servers is given up as any other request, whatever its first
// item is: all of its items are answered with an error. Formerly a batch whose first item
// is no object was given up after one death of a server.
func TestPoisonBatch(t *testing.T) {
	t.Parallel()
	for name, batch := range map[string]string{
		"a number":     ` [1,{"jsonrpc":"2.0","id":"there","method":"Poison.Take"}]`,
		"an array":     `[[{"id":"elsewhere"}],{"jsonrpc":"2.0","id":"there","method":"Poison.Take"}]`,
		"a broken one": `[{"id":["elsewhere"]},{"jsonrpc":"2.0","id":"there","method":"Poison.Take"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			rdb := broker.Client(t)
			push(t, rdb, batch)
			v := brokertest.Supervise(t, 1, "panic: poison", serveAddr+"="+broker.Addr)
			const text = `"given up: its server died each of the 3 times that it was started"`
			require.JSONEq(t, `[
				{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":`+text+`}},
				{"jsonrpc":"2.0","id":"there","error":{"code":-32000,"message":`+text+`}}
			]`, pop(t, rdb, "there"))
			push(t, rdb, add("later"))
			require.Equal(t, six, pop(t, rdb, "later"))
			v.Drain()
			require.Equal(t, maxAttempts, v.Deaths())
			list := redisconn.NewDeadList(rdb, queue)
			dead, err := list.List(t.Context(), -1)
			require.NoError(t, err)
			require.Len(t, dead, 1)
			require.Equal(t, batch, string(dead[0].Request))
			require.Equal(t, maxAttempts, dead[0].Attempts)
			deleted, err := list.Delete(t.Context(), dead[0])
			require.NoError(t, err)
			require.Equal(t, 1, deleted)
			requireOnlyServers(t, rdb) // that died
		})
	}
}

// A DeadList keeps the newest MaxDead requests: of more the oldest are dropped, which is
// counted and logged.
func TestMaxDead(t *testing.T) {
	t.Parallel()
	const dies, maxDead = 3, 100
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	entries := make([]any, maxDead-1) // there is a place for one
	for i := range entries {
		entries[i] = fmt.Sprintf(`{"time":1000,"attempts":1,"reason":"r"}`+"\n%d", i)
	}
	require.NoError(t, rdb.LPush(t.Context(), deadKey, entries...).Err())
	opts := leased()
	opts.MaxAttempts, opts.MaxDead = 1, maxDead
	push(t, rdb, waits(dies, "there")...)
	d := listenDying(t, broker, opts)
	for range dies {
		d.read(t)
	}
	d.die(t)

	var log servicetest.LogBook
	opts.Logger = log.Logger()
	w := serve(t, rdb, opts)
	for range dies {
		require.Contains(t, pop(t, rdb, "there"), "1 times")
	}
	w.End(t)
	require.EqualValues(t, dies, w.conn.Stats().Dead)
	require.EqualValues(t, dies-1, w.conn.Stats().DeadDropped)
	require.Equal(t, 1, log.Count("the oldest dead requests dropped", "requests=2", "limit=100"), &log)
	dead, err := redisconn.NewDeadList(rdb, queue).List(t.Context(), -1)
	require.NoError(t, err)
	require.Len(t, dead, maxDead)
	for i, request := range waits(dies, "there") {
		require.Equal(t, request, string(dead[dies-1-i].Request))
	}
	require.Equal(t, fmt.Sprint(dies-1), string(dead[len(dead)-1].Request), "the oldest that is left")
}

// What others have pushed onto the list is shown with what is wrong with it, and can be deleted.
func TestDeadListBroken(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	require.NoError(t, rdb.LPush(ctx, deadKey,
		`{"time":1000,"attempts":5,"reason":"r"}`, `{"time":1000,"attempts":5,"reason":"r"}`+"\n{}\n", `broken`).Err())
	list := redisconn.NewDeadList(rdb, queue)
	newest, err := list.List(ctx, 1)
	require.NoError(t, err)
	require.Len(t, newest, 1)
	require.Contains(t, newest[0].Reason, "invalid character")
	require.True(t, newest[0].Time.IsZero())
	_, err = list.Requeue(ctx, newest[0])
	require.ErrorContains(t, err, deadKey)
	all, err := list.List(ctx, -1)
	require.NoError(t, err)
	require.Len(t, all, 3)
	require.Equal(t, []any{time.UnixMilli(1000), 5, "r", "{}\n"}, []any{all[1].Time, all[1].Attempts, all[1].Reason, string(all[1].Request)})
	require.Contains(t, all[2].Reason, "ends with its header")
	deleted, err := list.Delete(ctx, all...)
	require.NoError(t, err)
	require.Equal(t, 3, deleted)
	requireEmpty(t, rdb)
}

// A request is queued again without its deadlines, and else as it was.
func TestRequeued(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	list := redisconn.NewDeadList(rdb, queue)
	for request, want := range map[string]string{
		`{"deadline_ms":1,"id":"<1>","method":"m"}`:             `{"id":"<1>","method":"m"}`,
		`{"id":"<1>" ,"method":"m"}`:                            `{"id":"<1>" ,"method":"m"}`,
		`[{"id":1,"deadline_ms":1},2,[{"deadline_ms":3}],null]`: `[{"id":1},2,[{"deadline_ms":3}],null]`,
		`null`: `null`,
	} {
		require.NoError(t, rdb.LPush(t.Context(), deadKey, "{}\n"+request).Err())
		dead, err := list.List(t.Context(), -1)
		require.NoError(t, err)
		moved, err := list.Requeue(t.Context(), dead...)
		require.NoError(t, err)
		require.Equal(t, 1, moved)
		require.JSONEq(t, want, pop(t, rdb, queue))
	}
	requireEmpty(t, rdb)
}

// One that is no JSON does not keep the others from being moved.
func TestRequeueBroken(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	list := redisconn.NewDeadList(rdb, queue)
	require.NoError(t, rdb.LPush(t.Context(), deadKey, "{}\n[1]", "{}\n[", "{}\n[2]").Err())
	dead, err := list.List(t.Context(), -1)
	require.NoError(t, err)
	moved, err := list.Requeue(t.Context(), dead...)
	require.ErrorContains(t, err, "no JSON")
	require.Equal(t, 2, moved)
	requireLen(t, rdb, deadKey, 1)
	requireLen(t, rdb, queue, 2)
}

// A look costs the same while 100,000 requests wait: it does not read the queue.
func TestLookWhileManyWait(t *testing.T) {
	t.Parallel()
	const waiting = 100_000
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	requests := make([]any, waiting)
	for i := range requests {
		requests[i] = add("there")
	}
	require.NoError(t, rdb.LPush(t.Context(), queue, requests...).Err())
	s := newDeadSite(t, broker)
	s.Bury(t, add("1"), add("2"))
	user := userClient(t, broker, "operator", "~{calc}:dead", "+llen", "+lrange", "+lrem") // and the queue can't be read
	list := redisconn.NewDeadList(user, queue)
	n, err := list.Len(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2, n)
	dead, err := list.List(t.Context(), -1)
	require.NoError(t, err)
	require.Len(t, dead, 2)
	_, err = list.Delete(t.Context(), dead[0])
	require.NoError(t, err)
	_, err = list.Requeue(t.Context(), dead[1])
	require.ErrorContains(t, err, "NOPERM")
	requireLen(t, rdb, queue, waiting)
}

// The rights that the documentation names for a DeadList are enough, and each is needed.
func TestRightsOfADeadList(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	s := newDeadSite(t, broker)
	all := strings.Fields(deadRights)
	use := func(name string, rights []string) error {
		require.NoError(t, s.rdb.ScriptFlush(t.Context()).Err())
		s.Bury(t, add("1"), add("2"))
		list := redisconn.NewDeadList(userClient(t, broker, name, rights...), queue)
		_, lenErr := list.Len(t.Context())
		dead, listErr := redisconn.NewDeadList(s.rdb, queue).List(t.Context(), 2)
		require.NoError(t, listErr)
		_, listErr = list.List(t.Context(), 2)
		_, requeueErr := list.Requeue(t.Context(), dead[0])
		_, deleteErr := list.Delete(t.Context(), dead[1])
		return errors.Join(lenErr, listErr, requeueErr, deleteErr)
	}
	require.NoError(t, use("all", all))
	for i, right := range all {
		err := use(fmt.Sprint("less", i), slices.Delete(slices.Clone(all), i, i+1))
		require.Error(t, err, right)
		require.Regexp(t, "NOPERM|can't run this command", err)
	}
}

// A dead request that can't be queued again stays in the list: it was removed before the
// push failed, and so was lost.
func TestRequeueRefused(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	require.NoError(t, rdb.LPush(ctx, deadKey, `{"time":1000,"attempts":5,"reason":"r"}`+"\n{}").Err())
	require.NoError(t, rdb.Set(ctx, queue, "no list", 0).Err())
	list := redisconn.NewDeadList(rdb, queue)
	dead, err := list.List(ctx, -1)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	_, err = list.Requeue(ctx, dead[0])
	require.ErrorContains(t, err, "WRONGTYPE")
	requireLen(t, rdb, deadKey, 1)

	require.NoError(t, rdb.Del(ctx, queue).Err())
	moved, err := list.Requeue(ctx, dead[0])
	require.NoError(t, err)
	require.Equal(t, 1, moved)
	require.Equal(t, "{}", pop(t, rdb, queue))
	requireEmpty(t, rdb)
}
