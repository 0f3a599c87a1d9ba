package amqpconn_test

import (
	"context"
	"fmt"
	"net/rpc"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A request is acknowledged when it is answered: the broker holds it until then, and delivers
// it again when the connection ends. It does not run twice at once in one process.
func TestAtLeastOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
	slow, other := servicetest.NewSlow(), servicetest.NewSlow()
	c := dial(t, s, nil, 10*time.Minute)
	w := serve(t, s.at(proxy.Addr), nil, slow)
	call := c.wait(1)
	slow.RequireRunning(t, 1)
	for n := range int64(2) {
		cut(t, proxy, w.conn)
		require.Equal(t, n+1, w.conn.Stats().Reconnects)
		s.requireHeld(t)
	}
	mend := sever(t, proxy, w.conn)
	serve(t, s, nil, other)
	other.RequireRunning(t, 1) // once more, elsewhere
	mend()
	s.requireConsumers(t, 2)
	other.Open()
	requireWaited(t, call)
	slow.Open()
	servicetest.Eventually(t, func() bool { return slow.Ran.Load() == 1 && slow.Running.Load() == 0 })
	w.End(t)
	s.requireWaiting(t, 0)
	require.EqualValues(t, 1, w.conn.Stats().Requests)
	require.EqualValues(t, 3, w.conn.Stats().Reconnects)
}

// requireHeld waits until one message of the queue is delivered and not
// acknowledged, and no other is there.
func (s site) requireHeld(t *testing.T) {
	t.Helper()
	s.requireUnacknowledged(t, 1)
}

// requireUnacknowledged is like requireHeld, for so many messages.
func (s site) requireUnacknowledged(t *testing.T, messages int) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		list := brokertest.SharedRabbitMQ(t).Queues("name", "messages_ready", "messages_unacknowledged")
		return strings.Contains(list, fmt.Sprintf("%s\t0\t%d\n", s.queue, messages))
	})
}

// With AtMostOnce a request is acknowledged just before it runs, not when it is delivered.
func TestAtMostOnce(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
	slow := servicetest.NewSlow()
	c := dial(t, s, nil, 0)
	w := serve(t, s.at(proxy.Addr), &amqpconn.ListenOptions{Guarantee: jsonrpc2.AtMostOnce, Prefetch: 2, Logger: servicetest.Quiet}, slow)
	var calls []*rpc.Call
	for i := range 8 {
		calls = append(calls, c.wait(i))
	}
	slow.RequireRunning(t, 2)
	s.requireWaiting(t, 4) // two run, two are prefetched
	cut(t, proxy, w.conn)
	s.requireWaiting(t, 4) // the prefetched came again
	slow.Open()
	requireWaited(t, calls...)
	w.End(t)
	require.EqualValues(t, 8, slow.Ran.Load())
	require.EqualValues(t, 2, slow.Most.Load(), "the Prefetch limits what runs, too")
	s.requireWaiting(t, 0)
}

func TestPrefetch(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		prefetch, inFlight int
		want               int // delivered and not acknowledged
	}{
		"default":           {0, 0, amqpconn.DefaultPrefetch},
		"prefetch":          {4, 0, 4},
		"fewer can run":     {0, 3, 3},
		"fewer are fetched": {2, 3, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			slow := servicetest.NewSlow()
			w := serveWith(t, s, &amqpconn.ListenOptions{Prefetch: test.prefetch, Logger: servicetest.Quiet},
				jsonrpc2.ServerOptions{MaxInFlight: test.inFlight, Logger: servicetest.Quiet}, slow)
			c := dial(t, s, nil, 0)
			total := test.want + 6
			var calls []*rpc.Call
			for i := range total {
				calls = append(calls, c.wait(i))
			}
			for answered := range 5 {
				slow.RequireRunning(t, int64(test.want))
				s.requireWaiting(t, total-test.want-answered)
				servicetest.Eventually(t, func() bool { return w.conn.Stats().Requests == int64(test.want+answered) })
				slow.Gate <- struct{}{}
			}
			slow.Open()
			requireWaited(t, calls...)
			require.EqualValues(t, test.want, slow.Most.Load())
		})
	}
}

// No server holds work that another could do.
func TestIdleServersShare(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	c := dial(t, s, nil, 0)
	var services []*servicetest.Slow
	for range 2 {
		slow := servicetest.NewSlow()
		services = append(services, slow)
		serveWith(t, s, nil, jsonrpc2.ServerOptions{MaxInFlight: 1, Logger: servicetest.Quiet}, slow)
	}
	for range 20 {
		calls := []*rpc.Call{c.wait(1), c.wait(2)}
		for _, slow := range services {
			slow.RequireRunning(t, 1)
		}
		for _, slow := range services {
			slow.Gate <- struct{}{}
		}
		requireWaited(t, calls...)
	}
}

// A request that kills each server that takes it goes to the dead-letter exchange, if the
// queue counts deliveries.
func TestMaxDeliveries(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string]amqpconn.ListenOptions{
		"answered late": {MaxDeliveries: 2},
		"at most once":  {MaxDeliveries: 2, Guarantee: jsonrpc2.AtMostOnce}, // it is acknowledged before it kills
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dead := newSite(t)
			dead.declare(t, true, false, nil)
			s := newSite(t)
			s.declare(t, true, false, amqp.Table{
				"x-queue-type":              "quorum",
				"x-dead-letter-exchange":    "",
				"x-dead-letter-routing-key": dead.queue,
			})
			var log servicetest.LogBook
			proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
			slow := servicetest.NewSlow()
			opts.Logger = servicetest.Quiet
			w := serveWith(t, s.at(proxy.Addr), &opts, jsonrpc2.ServerOptions{Logger: log.Logger()}, slow)
			ch := s.channel(t)
			poison := `{"jsonrpc":"2.0","method":"Slow.Wait","params":[1]}`
			s.publish(t, ch, amqp.Publishing{Body: []byte(poison)})
			slow.RequireRunning(t, 1)
			if opts.Guarantee != jsonrpc2.AtMostOnce {
				cut(t, proxy, w.conn)
				s.requireHeld(t)
			}
			require.NoError(t, w.conn.AwaitAcks()) // one that is on its way is lost with the connection
			cut(t, proxy, w.conn)
			if opts.Guarantee != jsonrpc2.AtMostOnce {
				deaths, err := ch.Consume(dead.queue, "", true, false, false, false, nil)
				require.NoError(t, err)
				require.Equal(t, poison, string(take(t, deaths).Body))
				require.EqualValues(t, 1, w.conn.Stats().Poisoned)
				servicetest.Eventually(t, func() bool { return log.Count("level=WARN", "request dropped after 2 deliveries", "Slow.Wait") == 1 })
			}
			dial(t, s, nil, 0).requireAdds(t)
			require.EqualValues(t, 1, slow.Running.Load())
			slow.Open()
			w.End(t)
			s.requireWaiting(t, 0)
		})
	}
}

// Without a limit it comes again and again.
func TestUnlimitedDeliveries(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, amqp.Table{"x-queue-type": "quorum"})
	proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
	slow := servicetest.NewSlow()
	w := serve(t, s.at(proxy.Addr), &amqpconn.ListenOptions{MaxDeliveries: -1, Logger: servicetest.Quiet}, slow)
	call := dial(t, s, nil, 0).wait(1)
	slow.RequireRunning(t, 1)
	for n := range int64(4) {
		cut(t, proxy, w.conn)
		require.Equal(t, n+1, w.conn.Stats().Reconnects)
		s.requireHeld(t)
	}
	slow.Open()
	requireWaited(t, call)
	w.End(t)
	s.requireWaiting(t, 0)
}

// Requests that run when their connection ends are answered on the next connection. There the
// answers acknowledge the requests that were delivered again, and no others.
func TestAnswersOfAnotherConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
	var log servicetest.LogBook
	conn, err := amqpconn.Listen(s.at(proxy.Addr).url, s.queue, &amqpconn.ListenOptions{Logger: log.Logger()})
	require.NoError(t, err)
	defer conn.Close()
	reading := make(chan jsonrpc2.Delivery, 10)
	go func() {
		for {
			d, err := conn.ReadRequest(context.Background())
			if err != nil {
				return
			}
			reading <- d
		}
	}()
	s.requireConsumers(t, 1)
	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	for range 3 {
		s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("1"))})
	}
	var first []jsonrpc2.Delivery
	for range 3 {
		first = append(first, <-reading)
	}
	requireConnected(t, conn)
	cut(t, proxy, conn)
	s.requireUnacknowledged(t, 3)
	s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("2"))})
	second := <-reading // what was delivered again is not read
	require.Equal(t, add("2"), string(second.Body))
	for _, d := range first[:2] {
		require.NoError(t, d.Reply([]byte("old")))
		require.Equal(t, "old", string(take(t, answers).Body))
	}
	s.requireUnacknowledged(t, 2)
	require.NoError(t, conn.Close())
	s.requireWaiting(t, 2)
	require.Equal(t, 1, log.Count("level=ERROR", "trying again"), &log)
}
