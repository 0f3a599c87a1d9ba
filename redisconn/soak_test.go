package redisconn_test

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/heap"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// One client and one server outlive a broker that is killed three times under
// load: every call returns, and those that failed work when asked again.
func TestSurvivesRestarts(t *testing.T) {
	const callers, restarts = 64, 3
	calls := int64(100_000)
	if testing.Short() {
		calls = 10_000
	}
	broker := brokertest.StartRedis(t)
	w := serve(t, broker.Client(t), nil)
	c := dial(t, broker.Client(t), nil, 2*time.Second)
	servicetest.RequireManyAdds(t, c.Client, 64, 20) // so that all connections are there
	goroutines, before := runtime.NumGoroutine(), heap.Live()

	var asked, answered, failed atomic.Int64
	var longest atomic.Int64
	errs := make(chan error, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for asked.Add(1) <= calls {
				for {
					begin := time.Now()
					sum, err := c.add(float64(i), 0.5)
					longest.Store(max(longest.Load(), int64(time.Since(begin))))
					if err == nil {
						if sum != float64(i)+0.5 {
							errs <- fmt.Errorf("%d + 0.5 is %v", i, sum)
							return
						}
						break
					}
					failed.Add(1)
				}
				answered.Add(1)
			}
		})
	}
	begin := time.Now()
	for n := range int64(restarts) {
		wait := func(condition func() bool) {
			t.Helper()
			require.Eventually(t, func() bool { return condition() || len(errs) > 0 }, time.Minute, servicetest.Tick)
		}
		wait(func() bool { return answered.Load() > calls*(n+1)/(restarts+1) })
		broker.Kill()
		if n == 0 { // for long enough that calls fail
			wait(func() bool { return failed.Load() >= callers })
		}
		broker.Start()
	}
	wg.Wait()
	close(errs)
	require.NoError(t, <-errs)
	require.Equal(t, calls, answered.Load())
	t.Logf("%d calls in %v, %d failed and were asked again, the longest took %v",
		calls, time.Since(begin).Round(time.Millisecond), failed.Load(), time.Duration(longest.Load()).Round(time.Millisecond))
	t.Logf("client: %+v", c.conn.Stats())
	t.Logf("server: %+v", w.conn.Stats())
	require.Less(t, time.Duration(longest.Load()), promptly)
	require.NotZero(t, c.conn.Stats().Reconnects)
	require.NotZero(t, w.conn.Stats().Reconnects)
	servicetest.Eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+2 }, "goroutines: %d before", goroutines)
	servicetest.Eventually(t, func() bool { return heap.Live() < before+4<<20 }, "heap: %d before", before)
	t.Logf("goroutines: %d, then %d; heap: %d KiB, then %d KiB", goroutines, runtime.NumGoroutine(), before>>10, heap.Live()>>10)
	c.requireAdds(t)
	c.end(t)
	w.End(t)
}
