package redisconn_test

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A reader is the serving end of the queue without a codec.
type reader struct {
	*redisconn.ServerConn
	requests chan received
}

type received struct {
	text     string
	deadline time.Time
}

// listen returns a reader, closed by the test's cleanup.
func listen(t *testing.T, rdb redis.UniversalClient) *reader {
	t.Helper()
	r := &reader{opened(t, mustListen(t, rdb, queue, &redisconn.ListenOptions{Logger: servicetest.Quiet})), make(chan received, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			d, err := r.ReadRequest(context.Background())
			if err != nil {
				return
			}
			r.requests <- received{string(d.Body), d.Deadline}
			_ = d.Reply(nil)
		}
	}()
	t.Cleanup(func() {
		_ = r.Close()
		<-done
	})
	return r
}

// next returns the next request's text and deadline.
func next(t *testing.T, r *reader) (string, time.Time) {
	t.Helper()
	select {
	case got := <-r.requests:
		return got.text, got.deadline
	case <-time.After(servicetest.Soon):
		require.FailNow(t, "no request comes")
		return "", time.Time{}
	}
}

// clockError is how well both ends know the broker's clock, on a busy machine.
const clockError = time.Second

// A caller's deadline is known to the server.
func TestDeadline(t *testing.T) {
	t.Parallel()
	embedded := redis.NewClient(&redis.Options{Addr: miniredis.RunT(t).Addr()})
	t.Cleanup(func() { _ = embedded.Close() })
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: brokertest.StartRedisCluster(t, 3, 0).Addrs})
	t.Cleanup(func() { _ = cluster.Close() })
	for name, rdb := range map[string]redis.UniversalClient{
		"Redis":    brokertest.StartRedis(t).Client(t),
		"embedded": embedded,
		"Cluster":  cluster,
	} {
		t.Run(name, func(t *testing.T) {
			server := listen(t, rdb)
			for name, opts := range replyModes {
				t.Run(name, func(t *testing.T) {
					requireDeadlines(t, rdb, server, &opts)
				})
			}
		})
	}
}

func requireDeadlines(t *testing.T, rdb redis.UniversalClient, server *reader, opts *redisconn.DialOptions) {
	c := dial(t, rdb, opts, time.Hour)
	begin := time.Now()
	c.Go("Calc.Add", calc.Args{}, nil, nil)
	text, deadline := next(t, server)
	require.WithinDuration(t, begin.Add(time.Hour), deadline, time.Since(begin)+clockError)
	var header jsonrpc2.Header
	header.Scan([]byte(text))
	require.NoError(t, header.Err())
	require.NotEmpty(t, header.ReplyTo())

	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	begin = time.Now()
	go jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{})
	_, deadline = next(t, server)
	require.WithinDuration(t, begin.Add(time.Minute), deadline, time.Since(begin)+clockError)
	cancel()

	require.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", nil))
	text, deadline = next(t, server)
	require.Zero(t, deadline)
	require.NotContains(t, text, "deadline_ms")

	endless := dial(t, rdb, opts, -1)
	endless.Go("Calc.Add", calc.Args{}, nil, nil)
	text, deadline = next(t, server)
	require.Zero(t, deadline)
	require.NotContains(t, text, "deadline_ms")
	endless.end(t)
	c.end(t)
}

// A batch has the deadline of its context, in its first item.
func TestDeadlineOfBatch(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	server := listen(t, rdb)
	c := dial(t, rdb, nil, 0)
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	batch := `[{"jsonrpc":"2.0","id":"1","method":"a"},{"jsonrpc":"2.0","id":"2","method":"b"}]`
	require.NoError(t, c.conn.WriteRequest(jsonrpc2.NewRequest(ctx, []byte(batch), jsonrpc2.Hooks{})))
	text, deadline := next(t, server)
	want, _ := ctx.Deadline()
	require.WithinDuration(t, want, deadline, clockError)
	require.Equal(t, 1, strings.Count(text, "deadline_ms"))
	require.Less(t, strings.Index(text, "deadline_ms"), strings.Index(text, "},{"))
}

// What strangers may write for a deadline.
func TestDeadlineOfStrangers(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	server := listen(t, rdb)
	now := rdb.Time(context.Background()).Val()
	for _, d := range []time.Duration{-time.Hour, -time.Second, time.Second, time.Hour} {
		push(t, rdb, withDeadline(strconv.FormatInt(now.Add(d).UnixMilli(), 10)))
		_, deadline := next(t, server)
		require.WithinDuration(t, now.Add(d), deadline, clockError)
	}
	for _, float := range []string{"%d.5", "%d000e-3"} {
		push(t, rdb, withDeadline(fmt.Sprintf(float, now.Add(time.Hour).UnixMilli())))
		_, deadline := next(t, server)
		require.WithinDuration(t, now.Add(time.Hour), deadline, clockError, float)
	}
	for _, odd := range []string{"0", "-5", "0.5", `"5"`, "null", "{}", "99999999999999999999"} {
		push(t, rdb, withDeadline(odd))
		_, deadline := next(t, server)
		require.Zero(t, deadline, odd)
	}
}

func withDeadline(value string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":"1","reply_to":"there","deadline_ms":%s,"method":"add"}`, value)
}

// If Redis refuses to tell its time, calls work without deadlines, and Redis is not asked for
// each call.
func TestDeadlineWithoutClock(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	admin := broker.Client(t)
	rdb := restricted(t, broker, admin, "-time", "-eval")
	c := dial(t, rdb, nil, 0)
	server := listen(t, rdb)
	for range 10 {
		c.Go("Calc.Add", calc.Args{}, nil, nil)
		text, _ := next(t, server)
		require.NotContains(t, text, "deadline_ms")
		push(t, admin, withDeadline("5"))
		_, deadline := next(t, server)
		require.Zero(t, deadline)
	}
	denied, err := admin.ACLLog(context.Background(), 100).Result()
	require.NoError(t, err)
	asked := make(map[string]int64)
	for _, command := range denied {
		asked[command.Object] += command.Count
	}
	for _, command := range []string{"time", "eval"} { // by each end, and to announce the server
		require.NotZero(t, asked[command], command)
		require.LessOrEqual(t, asked[command], int64(3), command)
	}
	require.Len(t, asked, 2, asked)
}

// The time is asked for once, once a second of use, and after a fault again.
func TestDeadlineClockAskedSeldom(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	admin := broker.Client(t)
	c := dial(t, broker.Client(t), nil, 0)
	server := listen(t, broker.Client(t))
	ask := func() {
		c.Go("Calc.Add", calc.Args{}, nil, nil)
		_, deadline := next(t, server)
		require.NotZero(t, deadline)
	}
	begin := time.Now()
	for range 100 {
		ask()
	}
	asked := 0
	servicetest.Eventually(t, func() bool { // by each end, and to announce the server
		asked = commandCalls(admin, "time")
		return asked >= 3
	})
	require.LessOrEqual(t, asked, 6+int(time.Since(begin)/time.Second)) // twice where it took long, then once a second
	requireBlocked(t, admin, 2)                                         // the pops of both ends, which notice the restart
	broker.Restart()
	servicetest.Eventually(t, func() bool { return c.conn.Stats().Reconnects > 0 && server.Stats().Reconnects > 0 })
	ask()
	require.GreaterOrEqual(t, commandCalls(admin, "time"), 2)
}

// A Timeout of centuries is none for the servers, and a deadline that is as far as
// can be written lets a request run.
func TestFarDeadlines(t *testing.T) {
	t.Parallel()
	rdb := brokertest.StartRedis(t).Client(t)
	for _, timeout := range []time.Duration{100 * 365 * 24 * time.Hour, math.MaxInt64} {
		c := dial(t, rdb, nil, timeout)
		call := c.Go("Calc.Add", []float64{1, 5.1}, new(float64), nil)
		request := pop(t, rdb, queue)
		require.NotContains(t, request, "deadline_ms")
		require.NoError(t, rdb.LPush(t.Context(), queue, request).Err())
		w := serve(t, rdb, nil)
		require.NoError(t, (<-call.Done).Error)
		w.End(t)
	}
	serve(t, rdb, nil)
	for _, ms := range []string{"9223372036854775807", "9223372036854775808", "1e400", "9007199254740993"} {
		push(t, rdb, `{"jsonrpc":"2.0","id":"1","reply_to":"there","deadline_ms":`+ms+`,"method":"add","params":[1,5.1]}`)
		require.Equal(t, six, pop(t, rdb, "there"), ms)
	}
}

// When the clock of Redis is set forward, a client's calls are served as soon as it
// has pushed one more than a second after it last asked.
func TestBrokerClockIsSet(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	var set atomic.Bool
	connect := func() *redis.Client {
		return replacing(t, broker, func(command []string) []string {
			if !set.Load() || !strings.EqualFold(command[0], "time") {
				return nil
			}
			return []string{"EVAL", "local t = redis.call('TIME') t[1] = tostring(t[1] + 60) return t", "0"}
		})
	}
	w := serve(t, connect(), nil)
	c := dial(t, connect(), nil, 0)
	c.requireAdds(t) // it knows the time now
	w.End(t)
	set.Store(true)
	serve(t, connect(), nil)
	begin := time.Now()
	servicetest.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		_, err := jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{A: 1, B: 5.1})
		return err == nil
	})
	require.Less(t, time.Since(begin), 30*time.Second) // else after a minute, when the time is asked for anew
}
