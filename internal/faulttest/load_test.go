package faulttest

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A load makes calls all the time, by several callers, and keeps how each ended.
type load struct {
	client  *rpc.Client
	callers int
	pause   time.Duration // of a caller between two calls
	limit   int64         // of calls; 0 for none

	asked, answered, failed atomic.Int64
	stopping                chan struct{}
	wg                      sync.WaitGroup

	mu       sync.Mutex // protects following
	ends     map[int]error
	notified []error
}

func newLoad(client *rpc.Client) *load {
	return &load{
		client:   client,
		callers:  32,
		pause:    taskTime,
		stopping: make(chan struct{}),
		ends:     make(map[int]error),
	}
}

func (l *load) start() {
	for range l.callers {
		l.wg.Go(l.run)
	}
	if l.limit == 0 {
		l.wg.Go(l.notify)
	}
}

func (l *load) run() {
	for {
		select {
		case <-l.stopping:
			return
		default:
		}
		n := l.asked.Add(1)
		if l.limit > 0 && n > l.limit {
			l.asked.Add(-1)
			return
		}
		_ = l.end(int(n), l.call(context.Background(), Task{N: int(n)}))
		l.rest()
	}
}

// rest waits between two calls of a caller. It reports whether the load goes on.
func (l *load) rest() bool {
	select {
	case <-time.After(l.pause):
		return true
	case <-l.stopping:
		return false
	}
}

// ask makes one call in addition to those of the callers.
func (l *load) ask(fill string) (n int, err error) {
	return l.askFor(context.Background(), fill)
}

func (l *load) askFor(ctx context.Context, fill string) (n int, err error) {
	n = int(l.asked.Add(1))
	return n, l.end(n, l.call(ctx, Task{N: n, Fill: fill}))
}

// call makes a call.
func (l *load) call(ctx context.Context, task Task) error {
	got, err := jsonrpc2.Call[int](ctx, l.client, "Ledger.Run", task)
	if err == nil && got != task.N {
		err = fmt.Errorf("the answer to %d is %d", task.N, got)
	}
	return err
}

// end notes how a call ended.
func (l *load) end(n int, err error) error {
	l.mu.Lock()
	l.ends[n] = err
	l.mu.Unlock()
	if err == nil {
		l.answered.Add(1)
	} else {
		l.failed.Add(1)
	}
	return err
}

// stop ends the callers and waits for their calls.
func (l *load) stop() {
	select {
	case <-l.stopping:
	default:
		close(l.stopping)
	}
	l.wg.Wait()
}

// awaitAnswered waits until more further calls were answered.
func (l *load) awaitAnswered(t *testing.T, more int64) {
	t.Helper()
	awaitMore(t, &l.answered, more, "answered")
}

// awaitFailed waits until more further calls failed.
func (l *load) awaitFailed(t *testing.T, more int64) {
	t.Helper()
	awaitMore(t, &l.failed, more, "failed")
}

func awaitMore(t *testing.T, count *atomic.Int64, more int64, what string) {
	t.Helper()
	want := count.Load() + more
	servicetest.Eventually(t, func() bool { return count.Load() >= want }, "%d more calls %s", more, what)
}

// A tally is what became of the calls of a load.
type tally struct {
	asked, answered   int
	failed            map[string]int // by the sentinel
	unsent            int            // certainly
	once, again, lost int            // lost: failed and not run
}

// failures are the sentinels of calls that may have run.
var failures = []struct {
	err  error
	name string
}{
	{jsonrpc2.ErrTimeout, "timeout"},
	{jsonrpc2.ErrReplyLost, "reply lost"},
	{jsonrpc2.ErrReplyTooLarge, "reply too large"},
	{jsonrpc2.ErrBadReply, "bad reply"},
}

// count counts what became of the calls. runs is how often each ran. count requires that those
// answered ran, that those not sent did not, and that each that failed did so with a sentinel.
func (l *load) count(t *testing.T, runs map[int]int) tally {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := tally{asked: int(l.asked.Load()), failed: make(map[string]int)}
	require.Len(t, l.ends, sum.asked, "calls that ended")
	for n, err := range l.ends {
		sent := true
		switch {
		case err == nil:
			sum.answered++
			require.NotZero(t, runs[n], "call %d was answered and did not run", n)
		case isUnsent(err):
			sent = false
			sum.unsent++
			require.Zero(t, runs[n], "call %d ran: %v", n, err)
		default:
			name := failureName(err)
			require.NotEmpty(t, name, "call %d: %v", n, err)
			sum.failed[name]++
		}
		switch {
		case runs[n] == 1:
			sum.once++
		case runs[n] > 1:
			sum.again++
		case sent:
			sum.lost++
		}
	}
	for n := range runs {
		require.LessOrEqual(t, n, sum.asked, "nobody asked for it")
	}
	return sum
}

// isUnsent reports whether an error says that the call certainly did not run.
func isUnsent(err error) bool {
	return errors.Is(err, jsonrpc2.ErrUnavailable) || errors.Is(err, jsonrpc2.ErrOverloaded) ||
		errors.Is(err, jsonrpc2.ErrNoServer) || errors.Is(err, jsonrpc2.ErrTooLarge) || errors.Is(err, jsonrpc2.ErrNotRun)
}

func failureName(err error) string {
	for _, f := range failures {
		if errors.Is(err, f.err) {
			return f.name
		}
	}
	return ""
}
