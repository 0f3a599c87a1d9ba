package jsonrpc2_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/rpc"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A fickle Conn does at random what a ClientConn may do, and knows what ran. What it says is
// always true.
type fickle struct {
	t       *testing.T
	random  *rand.Rand
	replies chan jsonrpc2.Reply
	closed  chan struct{}
	closing sync.Once
	late    sync.WaitGroup // for what is under way

	mu    sync.Mutex
	away  bool
	alone bool // requests come one by one, not in batches
	tries int
	runs  map[string]int               // by the text in the params
	last  map[string]*jsonrpc2.Request // so, too
}

// A ficklePlan is what becomes of a request.
type ficklePlan struct {
	mu        sync.Mutex
	withdrawn bool
	ran       bool
}

func newFickle(t *testing.T, random *rand.Rand) *fickle {
	return &fickle{t: t, random: random, replies: make(chan jsonrpc2.Reply), closed: make(chan struct{}), runs: make(map[string]int), last: make(map[string]*jsonrpc2.Request)}
}

func (f *fickle) Open(jsonrpc2.Settings) error { return nil }

func (f *fickle) Err() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.away {
		return errBroken
	}
	return nil
}

// A request that did not run fails with one of certainErrs, any other with one of perhapsErrs.
var (
	certainErrs = []error{jsonrpc2.ErrUnavailable, jsonrpc2.ErrNoServer, jsonrpc2.ErrOverloaded, jsonrpc2.ErrTooLarge}
	perhapsErrs = []error{jsonrpc2.ErrReplyLost, jsonrpc2.ErrTimeout, jsonrpc2.ErrBadReply, errBroken}
)

func pick[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

func (f *fickle) WriteRequest(r *jsonrpc2.Request) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.closed:
		return net.ErrClosed
	default:
	}
	deadline := r.Deadline()
	if !r.GivenUp() && !deadline.IsZero() {
		require.False(f.t, time.Now().After(deadline), "tried after the deadline")
	}
	f.tries++
	if f.alone {
		name := f.items(r)[0].Params[0]
		if last := f.last[name]; last != nil {
			require.True(f.t, r.GivenUp() || last.GivenUp(), "two tries at once")
		}
		f.last[name] = r
	}
	f.away = f.random.IntN(8) == 0
	pause := func() time.Duration { return time.Duration(f.random.IntN(400)) * time.Millisecond }
	plan := new(ficklePlan)
	r.Handle = plan
	r.Keep()
	switch f.random.IntN(11) {
	case 0:
		return fmt.Errorf("%w: at once", pick(f.random, certainErrs))
	case 1:
		r.Fail(fmt.Errorf("%w: inside WriteRequest", pick(f.random, certainErrs)))
	case 2, 3:
		err := pick(f.random, certainErrs)
		f.later(pause(), func() { f.end(r, plan, false, fmt.Errorf("%w: it failed", err)) })
	case 4, 5:
		err := pick(f.random, perhapsErrs)
		if r.IsNotification() {
			err = jsonrpc2.ErrUnconfirmed
		}
		ran := f.random.IntN(2) == 0
		f.later(pause(), func() { f.end(r, plan, ran, fmt.Errorf("%w: it may have run", err)) })
	case 6:
		err := fmt.Errorf("%w: the reply says so", pick(f.random, certainErrs))
		f.later(pause(), func() { f.refuse(r, plan, err) })
	case 7: // nothing more is heard of it
		if f.random.IntN(2) == 0 {
			f.later(pause(), func() { f.run(r, plan) })
		}
	default:
		again := f.random.IntN(4) == 0
		f.later(pause(), func() { f.answer(r, plan, again) })
	}
	return nil
}

func (f *fickle) later(d time.Duration, what func()) {
	f.late.Go(func() {
		select {
		case <-time.After(d):
			what()
		case <-f.closed:
		}
	})
}

// run runs a request, unless it was withdrawn or has ended.
func (f *fickle) run(r *jsonrpc2.Request, plan *ficklePlan) bool {
	plan.mu.Lock()
	defer plan.mu.Unlock()
	if plan.withdrawn {
		return false
	}
	plan.ran = true
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, item := range f.items(r) {
		f.runs[item.Params[0]]++
	}
	return true
}

type fickleItem struct {
	ID     string
	Params []string
}

// items returns the items of a batch, or a request as one.
func (f *fickle) items(r *jsonrpc2.Request) []fickleItem {
	body := r.Body
	if body[0] != '[' {
		body = []byte("[" + string(body) + "]")
	}
	var items []fickleItem
	require.NoError(f.t, json.Unmarshal(body, &items))
	return items
}

func (f *fickle) end(r *jsonrpc2.Request, plan *ficklePlan, ran bool, err error) {
	plan.mu.Lock()
	plan.withdrawn = plan.withdrawn || !ran
	plan.mu.Unlock()
	if !ran || f.run(r, plan) {
		r.Fail(err)
	}
}

func (f *fickle) answer(r *jsonrpc2.Request, plan *ficklePlan, again bool) {
	if !f.run(r, plan) {
		return
	}
	r.Sent()
	if r.IsNotification() {
		return
	}
	var answers []string
	for _, item := range f.items(r) {
		if item.ID != "" {
			answers = append(answers, fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"result":true}`, item.ID))
		}
	}
	for range 1 + btoi(again) {
		f.reply(jsonrpc2.Reply{Body: []byte("[" + strings.Join(answers, ",") + "]"), Request: r})
	}
}

func (f *fickle) reply(reply jsonrpc2.Reply) {
	select {
	case f.replies <- reply:
	case <-f.closed:
	}
}

// refuse says by a reply that a request did not run.
func (f *fickle) refuse(r *jsonrpc2.Request, plan *ficklePlan, err error) {
	plan.mu.Lock()
	plan.withdrawn = true
	plan.mu.Unlock()
	f.reply(jsonrpc2.Reply{Body: []byte(`{"error":"busy"}`), Request: r, Missing: err})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (f *fickle) ReadReply(ctx context.Context) (jsonrpc2.Reply, error) {
	select {
	case reply := <-f.replies:
		return reply, nil
	case <-ctx.Done():
		return jsonrpc2.Reply{}, ctx.Err()
	case <-f.closed:
		return jsonrpc2.Reply{}, io.EOF
	}
}

func (f *fickle) Inquire(ctx context.Context, requests []*jsonrpc2.Request) []error {
	f.mu.Lock()
	slow := f.random.IntN(4) == 0
	f.mu.Unlock()
	if slow {
		<-ctx.Done()
		return nil
	}
	found := make([]error, len(requests))
	for i, r := range requests {
		require.True(f.t, r.GivenUp(), "inquired of")
		plan, ok := r.Handle.(*ficklePlan)
		if !ok {
			continue
		}
		plan.mu.Lock()
		if !plan.ran {
			plan.withdrawn = true
			found[i] = fmt.Errorf("%w: withdrawn", jsonrpc2.ErrNotRun)
		}
		plan.mu.Unlock()
	}
	return found
}

func (f *fickle) Close() error {
	f.closing.Do(func() { close(f.closed) })
	f.late.Wait()
	return nil
}

// Whatever a Conn does, each call ends once and in time, no call runs twice that may not,
// and each error tells the truth.
func TestRetryAtRandom(t *testing.T) {
	rounds := 300
	if testing.Short() {
		rounds = 30
	}
	for round := range rounds {
		t.Run(fmt.Sprint(round), servicetest.Bubble(func(t *testing.T) { retryAtRandom(t, uint64(round)) }))
	}
}

func retryAtRandom(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 18))
	conn := newFickle(t, rand.New(rand.NewPCG(seed, 81)))
	stats, retries := new(jsonrpc2.ClientStats), new(jsonrpc2.RetryStats)
	conn.alone = seed%3 == 0
	var wrapped jsonrpc2.ClientConn = conn
	if seed%3 == 1 {
		wrapped = jsonrpc2.Batch(conn, nil)
	}
	wrapped = jsonrpc2.Retry(wrapped, &jsonrpc2.RetryOptions{Stats: retries})
	if seed%3 == 2 {
		wrapped = jsonrpc2.Batch(wrapped, nil)
	}
	client := jsonrpc2.NewClient(wrapped, &jsonrpc2.ClientOptions{Positional: true, Logger: servicetest.Quiet, Stats: stats})
	var callers sync.WaitGroup
	for caller := range 40 {
		pause := time.Duration(random.IntN(10)) * 100 * time.Millisecond // so that some come at once
		policy := jsonrpc2.RetryPolicy{Idempotent: random.IntN(2) == 0, After: time.Duration(random.IntN(3)) * 300 * time.Millisecond}
		timeout := time.Duration(random.IntN(10_000)) * time.Millisecond
		cancels := random.IntN(5) == 0
		callers.Go(func() {
			time.Sleep(pause)
			ctx := jsonrpc2.WithRetryPolicy(t.Context(), policy)
			var cancel context.CancelFunc
			if cancels {
				ctx, cancel = context.WithCancel(ctx)
				time.AfterFunc(timeout, cancel)
			} else {
				ctx, cancel = context.WithTimeout(ctx, timeout)
			}
			defer cancel()
			conn.oneCall(ctx, client, fmt.Sprint(caller), policy, caller%4 == 0)
		})
	}
	if random.IntN(4) == 0 {
		time.Sleep(time.Duration(random.IntN(3000)) * time.Millisecond)
		start := time.Now()
		require.NoError(t, client.Close())
		require.LessOrEqual(t, time.Since(start), 2*time.Second)
	}
	callers.Wait()
	if err := client.Close(); err != nil {
		require.ErrorIs(t, err, rpc.ErrShutdown)
	}
	synctest.Wait()
	require.Zero(t, stats.Snapshot().InFlight, "%+v", stats.Snapshot())
	counts := retries.Snapshot()
	require.LessOrEqual(t, int64(conn.tries), counts.Requests+counts.Resent+counts.Repeated)
}

// oneCall makes a call, or a notification, and checks what is said of it when all that is
// under way has come to an end.
func (f *fickle) oneCall(ctx context.Context, client *rpc.Client, name string, policy jsonrpc2.RetryPolicy, notify bool) {
	var err error
	if notify {
		err = jsonrpc2.Notify(ctx, client, "Test.Run", []string{name})
	} else {
		_, err = jsonrpc2.Call[bool](ctx, client, "Test.Run", []string{name})
	}
	time.Sleep(time.Minute)
	f.mu.Lock()
	runs := f.runs[name]
	f.mu.Unlock()
	if !policy.Idempotent {
		require.LessOrEqual(f.t, runs, 1, "%v", err)
	}
	if err == nil {
		require.Positive(f.t, runs)
		return
	}
	for _, sentinel := range append(certainErrs, jsonrpc2.ErrNotRun) {
		if errors.Is(err, sentinel) {
			require.Zero(f.t, runs, "%v", err)
		}
	}
}
