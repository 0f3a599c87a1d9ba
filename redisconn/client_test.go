package redisconn_test

import (
	"context"
	"fmt"
	"io"
	"net/rpc"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// promptly is how long a test lets last what takes two or three seconds on an idle machine. It is
// shorter than what would come if that did not end by itself: a call's timeout, or a dead pop's.
const promptly = 9 * time.Second

// Calls that can't be sent fail within two seconds, whenever they are made, and not by their
// timeout.
func TestDeadBroker(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	c := dial(t, broker.Client(t), nil, 0)
	broker.Kill()
	var mu sync.Mutex
	var longest time.Duration
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 2 {
				begin := time.Now()
				if _, err := c.add(1, 2); err == nil {
					t.Error("a call without a broker is answered")
				} else if !strings.HasPrefix(err.Error(), jsonrpc2.ErrUnavailable.Error()) {
					t.Error(err)
				}
				mu.Lock()
				longest = max(longest, time.Since(begin))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("the longest of 128 calls took %v", longest)
	require.Less(t, longest, promptly)
	require.EqualValues(t, 128, c.conn.Stats().Unsent)
	require.Zero(t, c.conn.Stats().Requests)
}

// A call that may have been sent waits for its answer until its timeout.
func TestSilentBroker(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	c := dial(t, broker.Client(t), nil, 0)
	serve(t, broker.Client(t), nil)
	c.requireAdds(t)
	broker.Stop()
	defer broker.Cont()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{A: 1, B: 5.1})
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	require.GreaterOrEqual(t, time.Since(begin), time.Second)
	broker.Cont()
	servicetest.Eventually(t, func() bool { _, err := c.add(1, 5.1); return err == nil })
}

// A request whose caller has given up is not sent.
func TestExpiredRequest(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := broker.Client(t)
	c := dial(t, rdb, nil, 0)
	broker.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_, err := jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{A: 1})
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	servicetest.Eventually(t, func() bool { // a busy sender may find first that its patience is over
		return c.conn.Stats().Expired+c.conn.Stats().Unsent == 1
	})
	broker.Start()
	servicetest.Eventually(t, func() bool { return jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", nil) == nil })
	requireLen(t, rdb, queue, 1)
	servicetest.Eventually(t, func() bool { return c.conn.Stats().Requests == 1 })
}

// No more than 16 MiB wait for a broker that does not answer.
func TestOverload(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr, ReadTimeout: servicetest.Soon}) // else go-redis makes room
	t.Cleanup(func() { _ = rdb.Close() })
	c := dial(t, rdb, nil, 0)
	requireBlocked(t, broker.Client(t), 1)
	require.NoError(t, rdb.Ping(t.Context()).Err()) // there is a connection for the sender, too
	broker.Stop()
	defer broker.Cont()
	mebibyte := strings.Repeat("x", 1<<20-200)
	sent := 0
	var err error
	for ; err == nil && sent < 100; sent++ {
		call := c.Go("Calc.Add", []string{mebibyte}, new(float64), make(chan *rpc.Call, 1))
		if len(call.Done) > 0 {
			err = call.Error
		}
	}
	require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
	require.ErrorContains(t, err, `queue "calc"`)
	require.InDelta(t, 17, sent, 2) // Redis may have taken the first before it stopped
	_, err = jsonrpc2.Call[float64](context.Background(), c.Client, "Calc.Add", []string{mebibyte})
	require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
	broker.Cont()
	servicetest.Eventually(t, func() bool { return jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", []string{mebibyte}) == nil })
}

// Close is quick though nobody answers, and however often it is called.
func TestCloseWithoutBroker(t *testing.T) {
	t.Parallel()
	for _, perCall := range []bool{false, true} {
		t.Run(fmt.Sprintf("client, per call %v", perCall), func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			var log servicetest.LogBook
			c := dial(t, broker.Client(t), &redisconn.DialOptions{ReplyPerCall: perCall, Logger: log.Logger()}, 0)
			broker.Kill()
			for range 3 {
				c.Go("Calc.Add", nil, new(float64), nil) // can't be sent
			}
			require.NoError(t, requireQuickClose(t, c.conn))
			require.EqualValues(t, 3, c.conn.Stats().Unsent)
			require.Equal(t, 1, log.Count("level=WARN", "closed with requests unsent", "queue=calc", "requests=3", "connection refused"), &log)
		})
	}
	t.Run("server", func(t *testing.T) {
		t.Parallel()
		broker := brokertest.StartRedis(t)
		rdb := broker.Client(t)
		conn := mustListen(t, rdb, queue, &redisconn.ListenOptions{Logger: servicetest.Quiet})
		lost := make(map[string]error)
		require.NoError(t, conn.Open(jsonrpc2.Settings{InFlight: 10, Lost: func(body []byte, why error) { lost[string(body)] = why }}))
		requests := waits(3, "there")
		push(t, rdb, requests...)
		request, err := conn.ReadRequest(context.Background())
		require.NoError(t, err)
		broker.Kill()
		require.NoError(t, request.Reply([]byte("can't be sent")))
		err = requireQuickClose(t, conn)
		require.ErrorContains(t, err, `queue "calc" at `+broker.Addr+": messages not known to be sent when closed: 3: ")
		require.ErrorContains(t, err, "connection refused")
		require.Len(t, lost, 3)
		require.ErrorContains(t, lost["can't be sent"], `answer to "there" not known to be sent`)
		for _, taken := range requests[1:] {
			require.ErrorContains(t, lost[taken], "request not given back")
		}
	})
	t.Run("idle", func(t *testing.T) {
		t.Parallel()
		rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
		defer rdb.Close()
		require.NoError(t, requireQuickClose(t, mustDial(t, rdb, queue, &redisconn.DialOptions{Logger: servicetest.Quiet})))
		require.NoError(t, requireQuickClose(t, mustListen(t, rdb, queue, &redisconn.ListenOptions{Logger: servicetest.Quiet})))
	})
}

// requireQuickClose closes a Conn several times at once, and returns what each Close
// returns.
func requireQuickClose(t *testing.T, conn io.Closer) error {
	t.Helper()
	begin := time.Now()
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() { errs <- conn.Close() }()
	}
	err := <-errs
	for range cap(errs) - 1 {
		require.Equal(t, err, <-errs)
	}
	t.Logf("closed after %v", time.Since(begin))
	require.Less(t, time.Since(begin), promptly)
	return err
}

// What was handed over is sent by Close.
func TestCloseSends(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	conn := opened(t, mustDial(t, rdb, queue, nil))
	for range 100 {
		write(t, conn, `{"jsonrpc":"2.0","method":"add"}`)
	}
	require.NoError(t, conn.Close())
	require.EqualValues(t, 100, rdb.LLen(context.Background(), queue).Val())
	require.Error(t, conn.WriteRequest(jsonrpc2.NewRequest(t.Context(), []byte(`{}`), jsonrpc2.Hooks{})))
}

// Replies that nobody waits for, and what else strangers may put on a reply
// list, do no harm.
func TestOddReplies(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	c := dial(t, rdb, nil, 0)
	answer := make(chan error, 1)
	go func() { answer <- servicetest.AddMany(c.Client, 1, 1) }()
	request := pop(t, rdb, queue)
	list, id := member(t, request, "reply_to"), member(t, request, "id")
	require.True(t, strings.HasPrefix(list, redisconn.DefaultReplyPrefix), list)
	require.NoError(t, rdb.RPush(ctx, list, "-{garbage", "", "[]", "[1]", `{"jsonrpc":"2.0","id":null,"result":1}`,
		`{"jsonrpc":"2.0","id":"stranger's","result":1}`, request).Err())
	requireLen(t, rdb, list, 0)
	require.Empty(t, answer)
	right := `{"jsonrpc":"2.0","id":"` + id + `","result":1}`
	require.NoError(t, rdb.RPush(ctx, list, right, right).Err()) // the second is a duplicate
	require.NoError(t, <-answer)
	serve(t, rdb, nil)
	c.requireAdds(t)
}

// member returns a string member of a request.
func member(t *testing.T, request, name string) string {
	t.Helper()
	_, rest, ok := strings.Cut(request, `"`+name+`":"`)
	require.True(t, ok, request)
	value, _, _ := strings.Cut(rest, `"`)
	return value
}

// Many values that only wake a client up are not left to be read one by one.
func TestReplyPerCallLeavesNoWakes(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	rdb := brokertest.StartRedis(t).Client(t)
	w := serve(t, rdb, nil)
	c := dial(t, rdb, &redisconn.DialOptions{ReplyPerCall: true, Logger: servicetest.Quiet}, 0)
	for range 2 {
		servicetest.RequireManyAdds(t, c.Client, 64, 20)
	}
	var left int64
	for _, list := range rdb.Keys(ctx, redisconn.DefaultReplyPrefix+"*").Val() {
		left += rdb.LLen(ctx, list).Val()
	}
	t.Logf("%d wakes left after %d calls", left, w.conn.Stats().Requests)
	require.Less(t, left, int64(256))
	c.end(t)
	w.End(t)
	requireEmpty(t, rdb)
}
