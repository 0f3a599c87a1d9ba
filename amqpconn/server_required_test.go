package amqpconn_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// requireServer are the options of a client that sends nothing without a server.
func requireServer() *amqpconn.DialOptions {
	return &amqpconn.DialOptions{RequireServer: true, Logger: servicetest.Quiet}
}

// try makes a call, or sends a notification, and does not wait for long.
func (c caller) try(t *testing.T, notify bool) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	return c.send(ctx, notify)
}

// send makes a call, or sends a notification.
func (c caller) send(ctx context.Context, notify bool) error {
	if notify {
		return jsonrpc2.Notify(ctx, c.Client, "Calc.Add", calc.Args{})
	}
	_, err := jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{})
	return err
}

// Calls and notifications fail at once while nobody serves, and work when a server has
// come. When it has drained they fail again, within a second.
func TestRequireServer(t *testing.T) {
	t.Parallel()
	for name, notify := range map[string]bool{"calls": false, "notifications": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.declare(t, true, false, nil)
			c := dial(t, s, requireServer(), servicetest.Soon)
			c.conn.SetLookTime(servicetest.Soon) // a call is sent when a look is not answered
			begin := time.Now()
			err := c.send(t.Context(), notify)
			require.ErrorIs(t, err, jsonrpc2.ErrNoServer)
			require.ErrorContains(t, err, fmt.Sprintf("queue %q at %s", s.queue, brokertest.SharedRabbitMQ(t).Addr))
			require.ErrorContains(t, err, "it has no consumer; start a server, or clear RequireServer")
			require.Less(t, time.Since(begin), servicetest.Soon/2)
			servicetest.EventuallyEqual(t, amqpconn.ClientStats{NoServer: 1}, c.conn.Stats, "it was not sent")

			w := serve(t, s, nil)
			servicetest.Eventually(t, func() bool { return c.try(t, notify) == nil })
			w.End(t)
			gone := time.Now()
			servicetest.Eventually(t, func() bool { return errors.Is(c.try(t, notify), jsonrpc2.ErrNoServer) })
			require.Less(t, time.Since(gone), servicetest.Soon/4, "a second, and the last call that waited")
			if !notify {
				s.requireWaiting(t, 0) // what came too late has expired
			}
		})
	}
}

// A server that is busy is a server.
func TestRequireServerThatIsBusy(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	slow := servicetest.NewSlow()
	serve(t, s, &amqpconn.ListenOptions{Prefetch: 1, Logger: servicetest.Quiet}, slow)
	c := dial(t, s, requireServer(), servicetest.Soon)
	waiting := c.wait(1)
	slow.RequireRunning(t, 1)
	for begin := time.Now(); time.Since(begin) < 1500*time.Millisecond; { // longer than a look counts
		require.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Slow.Wait", 2))
	}
	slow.Open()
	requireWaited(t, waiting)
	require.Zero(t, c.conn.Stats().NoServer)
}

// A client that has just reconnected assumes nothing for 15 s: what it is told to send is
// in the queue then. Later it looks again.
func TestRequireServerAfterAReconnect(t *testing.T) {
	t.Parallel()
	const patience = 15 * time.Second
	s := newSite(t)
	s.declare(t, true, false, nil)
	proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
	conn := dialConn(t, s.at(proxy.Addr), *requireServer())
	conn.SetLookTime(servicetest.Soon) // a notification is sent when a look is not answered
	require.ErrorIs(t, write(t, conn, note).outcome(t), jsonrpc2.ErrNoServer)
	began := time.Now()
	cut(t, proxy, conn)
	require.EqualValues(t, 1, conn.Stats().Reconnects)
	reconnected := time.Now()
	require.NoError(t, write(t, conn, note).outcome(t))
	s.requireWaiting(t, 1)

	sent := 1
	servicetest.Eventually(t, func() bool {
		err := write(t, conn, note).outcome(t)
		if err == nil {
			sent++
			return false
		}
		require.ErrorIs(t, err, jsonrpc2.ErrNoServer)
		return true
	})
	require.GreaterOrEqual(t, time.Since(began), patience)
	require.Less(t, time.Since(reconnected), patience+servicetest.Soon/4)
	s.requireWaiting(t, sent)
}

// A broker that is killed and started again takes its clients' servers with it for a
// while: calls then fail for other reasons, and work as soon as a server is back. Of
// notifications that are persistent, none that was sent is lost.
func testRequireServerRestarted(t *testing.T, broker *brokertest.RabbitMQ, s site) {
	ledger := &Ledger{runs: make(map[int]int)}
	serve(t, s, nil, ledger)
	opts := requireServer()
	opts.Persistent = true
	c := dial(t, s, opts, servicetest.Soon)
	c.requireAdds(t)
	awaitAge(t, s, 2*time.Second)

	sends, end := context.WithCancel(t.Context())
	var sending sync.WaitGroup
	stop := func() { end(); sending.Wait() }
	defer stop()
	var next, sent, unknown atomic.Int64
	for range 8 {
		sending.Go(func() {
			for sends.Err() == nil {
				switch err := jsonrpc2.Notify(t.Context(), c.Client, "Ledger.Enter", next.Add(1)); {
				case err == nil:
					sent.Add(1)
				case errors.Is(err, jsonrpc2.ErrUnconfirmed):
					unknown.Add(1)
				default: // it says so, and a server may be missing for long on a slow machine
					assert.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
				}
			}
		})
	}
	servicetest.Eventually(t, func() bool { return sent.Load() > 100 })
	broker.Kill()
	servicetest.Eventually(t, func() bool { // what was sent at the last moment fails with ErrReplyLost
		return errors.Is(c.try(t, false), jsonrpc2.ErrTimeout)
	}, "it is tried for longer")
	broker.Start()
	c.requireRecovers(t)
	before := sent.Load()
	servicetest.Eventually(t, func() bool { return sent.Load() > before+100 })
	stop()
	servicetest.Eventually(t, func() bool { numbers, _ := ledger.count(); return int64(numbers) >= sent.Load() })
	numbers, _ := ledger.count()
	require.LessOrEqual(t, int64(numbers), sent.Load()+unknown.Load())
	require.Zero(t, c.conn.Stats().NoServer)
}
