package amqpconn_test

import (
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// declared reports whether the queue is there with exactly these attributes.
func (s site) declared(t *testing.T, durable bool, args amqp.Table) bool {
	t.Helper()
	if _, ok := s.inspect(s.queue); !ok {
		return false
	}
	_, err := s.channel(t).QueueDeclare(s.queue, durable, false, false, false, args)
	return err == nil
}

// A missing queue is created as the options say, by a server or a client.
func TestQueueCreated(t *testing.T) {
	t.Parallel()
	limited := amqp.Table{"x-message-ttl": int32(60_000), "x-max-length": int32(7)}
	for _, test := range []struct {
		name    string
		queue   amqpconn.Queue
		durable bool
		args    amqp.Table
	}{
		{"default", amqpconn.Queue{}, true, nil},
		{"plain", amqpconn.Queue{Plain: true}, false, nil},
		{"quorum", amqpconn.Queue{Quorum: true}, true, amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int64(amqpconn.DefaultMaxDeliveries)}},
		{"arguments", amqpconn.Queue{Args: limited}, true, limited},
		{"plain with arguments", amqpconn.Queue{Plain: true, Args: limited}, false, limited},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			w := serve(t, s, &amqpconn.ListenOptions{Queue: test.queue, Logger: servicetest.Quiet})
			dial(t, s, nil, 0).requireAdds(t)
			require.True(t, s.declared(t, test.durable, test.args))
			require.False(t, s.declared(t, !test.durable, test.args))
			w.End(t)

			s = newSite(t)
			c := dial(t, s, &amqpconn.DialOptions{Declare: &test.queue, Logger: servicetest.Quiet}, 0)
			call := c.Go("Calc.Add", []float64{1, 5.1}, new(float64), nil)
			s.requireWaiting(t, 1)
			require.True(t, s.declared(t, test.durable, test.args))
			serve(t, s, nil)
			<-call.Done
			require.NoError(t, call.Error)
		})
	}
	require.Len(t, limited, 2, "the caller's table is not written to")
}

// A queue that is there is used, whatever it is like.
func TestQueueUsed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                string
		durable, autoDelete bool
		args                amqp.Table
	}{
		{"plain", false, false, nil},
		{"auto-delete", false, true, nil},
		{"limited", true, false, amqp.Table{"x-max-length": int32(1000)}},
		{"quorum", true, false, amqp.Table{"x-queue-type": "quorum"}},
		{"lazy with priorities", true, false, amqp.Table{"x-queue-mode": "lazy", "x-max-priority": int32(3)}},
	} {
		for name, queue := range map[string]amqpconn.Queue{
			"by default": {}, "as plain": {Plain: true}, "as quorum": {Quorum: true},
		} {
			t.Run(test.name+" "+name, func(t *testing.T) {
				t.Parallel()
				var log servicetest.LogBook
				s := newSite(t)
				s.declare(t, test.durable, test.autoDelete, test.args)
				serve(t, s, &amqpconn.ListenOptions{Queue: queue, Logger: log.Logger()})
				c := dial(t, s, &amqpconn.DialOptions{Declare: &queue, Logger: log.Logger()}, 0)
				c.requireAdds(t)
				require.Zero(t, log.Count(""), &log)
			})
		}
	}
}

// A queue deleted under its server is made and consumed again.
func TestQueueDeleted(t *testing.T) {
	t.Parallel()
	var log servicetest.LogBook
	s := newSite(t)
	slow := servicetest.NewSlow()
	w := serve(t, s, &amqpconn.ListenOptions{Queue: amqpconn.Queue{Plain: true}, Logger: log.Logger()}, slow)
	c := dial(t, s, nil, 0)
	running := c.wait(1)
	slow.RequireRunning(t, 1)
	for n := range int64(3) {
		s.delete(t)
		servicetest.Eventually(t, func() bool { return w.conn.Stats().Reconnects == n+1 })
		s.requireConsumers(t, 1)
		require.True(t, s.declared(t, false, nil))
		c.requireAdds(t)
	}
	slow.Open()
	requireWaited(t, running)
	require.Equal(t, 3, log.Count("level=ERROR", "the queue was deleted"), &log)
	servicetest.Eventually(t, func() bool { return log.Count("level=INFO", "works again") == 3 }, &log) // it is counted before
	require.Equal(t, 6, log.Count(""), &log)
}

// A server that drains does not bring a deleted queue back.
func TestQueueDeletedInDrain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	slow := servicetest.NewSlow()
	w := serve(t, s, nil, slow)
	c := dial(t, s, nil, 0)
	running := c.wait(1)
	slow.RequireRunning(t, 1)
	w.Drain()
	s.requireConsumers(t, 0)
	s.delete(t)
	slow.Open()
	requireWaited(t, running)
	w.End(t)
	_, exists := s.inspect(s.queue)
	require.False(t, exists)
}

// A queue that somebody else has for himself is waited for.
func TestQueueExclusiveToAnother(t *testing.T) {
	t.Parallel()
	var log servicetest.LogBook
	s := newSite(t)
	owner := s.channel(t)
	_, err := owner.QueueDeclare(s.queue, false, false, true, false, nil)
	require.NoError(t, err)
	start(t, s, &amqpconn.ListenOptions{Logger: log.Logger()}, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	servicetest.Eventually(t, func() bool { return log.Count("level=ERROR", "RESOURCE_LOCKED") == 1 })
	_, err = owner.QueueDelete(s.queue, false, false, false)
	require.NoError(t, err)
	s.requireConsumers(t, 1)
	servicetest.Eventually(t, func() bool { return log.Count("level=INFO") == 1 })
	require.Equal(t, 2, log.Count(""), &log)
}

// A request waits in its queue as long as its caller does.
func TestRequestExpires(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	counter := new(servicetest.Counter)
	c := dial(t, s, nil, 300*time.Millisecond)
	_, err := jsonrpc2.Call[int64](t.Context(), c.Client, "Counter.Count", struct{}{})
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	s.requireWaiting(t, 0)
	serve(t, s, nil, counter)
	c.requireRecovers(t)
	require.Zero(t, counter.N.Load())
}
