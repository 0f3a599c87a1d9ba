package amqpconn_test

import (
	"context"
	"math"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// What a server in another language sees of our requests.
func TestRequestOnTheWire(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts amqpconn.DialOptions
		mode uint8
	}{
		"default":    {amqpconn.DialOptions{}, amqp.Transient},
		"persistent": {amqpconn.DialOptions{Persistent: true}, amqp.Persistent},
		"per call":   {amqpconn.DialOptions{ReplyPerCall: true}, amqp.Transient},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.declare(t, false, false, nil)
			requests, err := s.channel(t).Consume(s.queue, "", true, false, false, false, nil)
			require.NoError(t, err)
			test.opts.Logger = servicetest.Quiet
			c := dial(t, s, &test.opts, servicetest.Soon)

			c.Go("Calc.Add", calc.Args{A: 1, B: 5.1}, new(float64), nil)
			d := take(t, requests)
			id := d.CorrelationId
			require.NotEmpty(t, id)
			require.JSONEq(t, `{"jsonrpc":"2.0","id":"`+id+`","method":"add","params":[1,5.1]}`, string(d.Body))
			require.Equal(t, id, d.MessageId)
			require.Equal(t, "application/json", d.ContentType)
			require.NotEmpty(t, d.ReplyTo)
			require.Equal(t, test.opts.ReplyPerCall, d.ReplyTo == id)
			requireExpiration(t, servicetest.Soon, d)
			if test.opts.Persistent {
				require.Equal(t, amqp.Persistent, d.DeliveryMode)
			} else {
				require.NotEqual(t, amqp.Persistent, d.DeliveryMode)
			}

			ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
			go func() { _, _ = jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", nil) }()
			d = take(t, requests)
			cancel()
			requireExpiration(t, time.Hour, d)
			require.NotEqual(t, id, d.CorrelationId)

			require.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", nil))
			d = take(t, requests)
			require.JSONEq(t, `{"jsonrpc":"2.0","method":"add"}`, string(d.Body))
			require.Empty(t, d.ReplyTo)
			require.Empty(t, d.Expiration)
			require.NotEmpty(t, d.MessageId)
		})
	}
}

// requireExpiration requires that a request expires when its call does.
func requireExpiration(t *testing.T, timeout time.Duration, d amqp.Delivery) {
	t.Helper()
	ms, err := strconv.Atoi(d.Expiration)
	require.NoError(t, err)
	require.LessOrEqual(t, time.Duration(ms)*time.Millisecond, timeout)
	require.Greater(t, time.Duration(ms)*time.Millisecond, timeout-servicetest.Soon/2)
}

// A call without a timeout never expires.
func TestNoExpiration(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, false, false, nil)
	requests, err := s.channel(t).Consume(s.queue, "", true, false, false, false, nil)
	require.NoError(t, err)
	c := dial(t, s, nil, -1)
	c.Go("Calc.Add", nil, new(float64), nil)
	require.Empty(t, take(t, requests).Expiration)
}

// A deadline may be farther away than the broker can be told. Calls beside such a
// one go on, too.
func TestFarDeadlines(t *testing.T) {
	t.Parallel()
	const year = 365 * 24 * time.Hour
	s := newSite(t)
	serve(t, s, nil)
	for _, timeout := range []time.Duration{49 * 24 * time.Hour, 50 * 24 * time.Hour, 11 * year, 100 * year, math.MaxInt64} {
		c := dial(t, s, nil, timeout)
		servicetest.RequireCalls(t, c.Client, 3)
		require.Zero(t, c.conn.Stats().Reconnects)
		ctx, cancel := context.WithTimeout(t.Context(), timeout)
		_, err := jsonrpc2.Call[float64](ctx, c.Client, "Calc.Add", calc.Args{A: 1, B: 5.1})
		cancel()
		require.NoError(t, err)
	}
}

// A request that the broker refuses did not run, and the queue is full: the broker is
// overloaded, for a call as for a notification.
func TestBrokerRefuses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, amqp.Table{"x-max-length": int32(0), "x-overflow": "reject-publish"})
	c := dial(t, s, &amqpconn.DialOptions{Persistent: true, Logger: servicetest.Quiet}, servicetest.Soon)
	begin := time.Now()
	_, err := c.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
	require.ErrorContains(t, err, "the broker refused the request")
	err = c.Call("Calc.Add", nil, new(float64))
	require.True(t, strings.HasPrefix(err.Error(), jsonrpc2.ErrOverloaded.Error()), "got %v", err)
	require.Less(t, time.Since(begin), servicetest.Soon/2)

	require.ErrorIs(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", nil), jsonrpc2.ErrOverloaded)
	servicetest.Eventually(t, func() bool { return c.conn.Stats() == amqpconn.ClientStats{Requests: 3, Overloaded: 3} })
}

// A queue that is full for longer than a channel is trusted is no outage, whether
// refusals come often or now and then.
func TestBrokerRefusesForLong(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, amqp.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
	ch := s.channel(t)
	s.publish(t, ch, amqp.Publishing{})
	s.requireWaiting(t, 1)
	for _, pause := range []time.Duration{100 * time.Millisecond, 5500 * time.Millisecond} {
		t.Run(pause.String(), func(t *testing.T) {
			t.Parallel()
			var log servicetest.LogBook
			c := dial(t, s, &amqpconn.DialOptions{Persistent: true, Logger: log.Logger()}, servicetest.Soon)
			refusals := time.NewTicker(pause)
			defer refusals.Stop()
			for begin := time.Now(); time.Since(begin) < 12*time.Second; <-refusals.C {
				_, err := c.add(1, 5.1)
				require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
				require.ErrorContains(t, err, "the broker refused the request")
			}
			require.Zero(t, c.conn.Stats().Reconnects)
			require.Zero(t, log.Count(""), &log)
		})
	}
}

// Persistent requests survive the broker's restart in a durable queue, see
// TestFaults. Here they are confirmed, each of them once.
func TestConfirmed(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	c := dial(t, s, &amqpconn.DialOptions{Persistent: true, Logger: servicetest.Quiet}, servicetest.Soon)
	const calls = 3000
	var callers sync.WaitGroup
	for range 100 {
		callers.Go(func() {
			for range calls / 100 {
				assert.NoError(t, jsonrpc2.Notify(t.Context(), c.Client, "Calc.Add", nil))
			}
		})
	}
	callers.Wait()
	servicetest.Eventually(t, func() bool { return c.conn.Stats().Confirmed == calls })
	servicetest.EventuallyEqual(t, amqpconn.ClientStats{Requests: calls, Confirmed: calls}, c.conn.Stats)
	s.requireWaiting(t, calls)
}

// More than 16 MiB don't wait for a broker.
func TestOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, testOverload) // or the first may fail before all are written
}

func testOverload(t *testing.T) {
	large := string(make([]byte, 4<<20))
	conn, err := amqpconn.Dial(absent, "calc", noBroker())
	require.NoError(t, err)
	defer conn.Close()
	for range 4 {
		require.NoError(t, conn.WriteRequest(newRequest(large)))
	}
	err = conn.WriteRequest(newRequest(large))
	require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
	require.ErrorContains(t, err, `queue "calc"`)
	servicetest.Eventually(t, func() bool { return conn.WriteRequest(newRequest(large)) == nil }, "the first have failed")
}
