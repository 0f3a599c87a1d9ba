package amqpconn_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A Ledger is a service that notes what it was called with.
type Ledger struct {
	mu   sync.Mutex
	runs map[int]int // how often with each number
	all  int
}

// Enter notes n and returns it.
func (l *Ledger) Enter(n int, reply *int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.runs[n]++
	l.all++
	*reply = n
	return nil
}

// count returns how many numbers were noted, and how often in all.
func (l *Ledger) count() (numbers, all int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.runs), l.all
}

// In the worst weather every call ends, what was answered ran, and so did every
// request that the broker had confirmed, with the same client and server
// throughout.
func TestStorm(t *testing.T) {
	t.Parallel()
	calls := int64(8_000)
	if testing.Short() {
		calls = 2_000
	}
	broker := brokertest.StartRabbitMQ(t)
	s := site{broker.URL(), "storm"}
	ledger := &Ledger{runs: make(map[int]int)}
	var log servicetest.LogBook
	w := serve(t, s, &amqpconn.ListenOptions{Logger: log.Logger()}, ledger)
	c := dial(t, s, &amqpconn.DialOptions{Persistent: true, Logger: log.Logger()}, 2*time.Minute)
	other := dial(t, s, nil, servicetest.Soon)
	awaitAge(t, s, 2*time.Second)

	var next, ended, answered atomic.Int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for n := next.Add(1); n <= calls; n = next.Add(1) {
				got, err := jsonrpc2.Call[int64](context.Background(), c.Client, "Ledger.Enter", n)
				if err == nil {
					answered.Add(1)
					if got != n {
						t.Errorf("got %d, want %d", got, n)
					}
				}
				ended.Add(1)
			}
		})
	}
	for i, fault := range []func(){
		broker.Restart,
		func() { broker.Ctl("close_all_connections", "maintenance") },
		broker.Restart,
	} {
		share := calls * int64(i+1) / 4
		require.Eventually(t, func() bool { return ended.Load() >= share }, 5*time.Minute, servicetest.Tick)
		other.requireRecovers(t)
		fault()
	}
	returned := make(chan struct{})
	go func() { wg.Wait(); close(returned) }()
	select {
	case <-returned:
	case <-time.After(4 * servicetest.Soon):
		require.FailNow(t, "calls hang", "%d of %d have ended", ended.Load(), calls)
	}

	// Whatever the broker still held is run and acknowledged: what is delivered
	// counts here, too.
	servicetest.Eventually(t, func() bool {
		return strings.Contains(broker.Queues("name", "messages"), s.queue+"\t0\n")
	}, "not all requests are acknowledged")
	stats := c.conn.Stats()
	numbers, all := ledger.count()
	t.Logf("%d calls: %d answered, %d confirmed; %d ran, %d of them again; client %+v, server %+v",
		calls, answered.Load(), stats.Confirmed, numbers, all-numbers, stats, w.conn.Stats())
	require.Equal(t, calls, ended.Load())
	require.LessOrEqual(t, answered.Load(), int64(numbers))
	require.LessOrEqual(t, stats.Confirmed, int64(numbers))
	require.Greater(t, answered.Load(), calls/4)
	c.requireRecovers(t)
	c.end(t)
	w.End(t)
	s.requireConsumers(t, 0)
	s.requireWaiting(t, 0)
}
