package amqpconn_test

import (
	"context"
	"net"
	"net/rpc"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A faulty is a server and a client that have to live through a fault.
type faulty struct {
	*worker
	caller
	slow                 *servicetest.Slow
	serverLog, clientLog servicetest.LogBook
}

func newFaulty(t *testing.T, s site, config amqp.Config) *faulty {
	t.Helper()
	f := &faulty{slow: servicetest.NewSlow()}
	f.worker = serve(t, s, &amqpconn.ListenOptions{Config: config, Logger: f.serverLog.Logger()}, f.slow)
	f.caller = dial(t, s, &amqpconn.DialOptions{Config: config, Persistent: true, Logger: f.clientLog.Logger()}, 5*time.Minute)
	f.requireAdds(t)
	return f
}

// requireSurvived requires that both ends work again, have logged each change
// of their state once, and end as they should.
func (f *faulty) requireSurvived(t *testing.T, faults int) {
	t.Helper()
	f.requireRecovers(t)
	f.slow.Open()
	for name, log := range map[string]*servicetest.LogBook{"server": &f.serverLog, "client": &f.clientLog} {
		servicetest.Eventually(t, func() bool { return log.Count("level=INFO", "works again", "role="+name) == faults }, log)
		require.Equal(t, faults, log.Count("level=ERROR", "impaired, trying again", "role="+name), log)
		require.Equal(t, log.Count(""), log.Count("level=ERROR", "impaired")+faults, log)
		require.LessOrEqual(t, log.Count(""), 5*faults, log)
		require.NotContains(t, log.String(), "guest:")
	}
	require.EqualValues(t, faults, f.caller.conn.Stats().Reconnects)
	require.EqualValues(t, faults, f.worker.conn.Stats().Reconnects)
	f.caller.end(t)
	f.worker.End(t)
}

// requireEnds requires that a call ends with an error.
func requireEnds(t *testing.T, call *rpc.Call, want error) {
	t.Helper()
	select {
	case <-call.Done:
		require.ErrorContains(t, call.Error, want.Error())
	case <-time.After(servicetest.Soon):
		require.FailNow(t, "a call hangs")
	}
}

// TestFaults makes the faults that only a broker of their own allows.
func TestFaults(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRabbitMQ(t)
	for _, test := range []struct {
		name string
		run  func(t *testing.T, broker *brokertest.RabbitMQ, s site)
	}{
		{"ConnectionsClosed", testConnectionsClosed},
		{"MemoryAlarm", testMemoryAlarm},
		{"DiskAlarm", testDiskAlarm},
		{"AlarmFillsSockets", testAlarmFillsSockets},
		{"BrokerSuspended", testBrokerSuspended},
		{"OverTheLimit", testOverTheLimit},
		{"BrokerRestarted", testBrokerRestarted},
		{"RequireServerRestarted", testRequireServerRestarted},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, broker, site{broker.URL(), test.name}) })
	}
}

func testConnectionsClosed(t *testing.T, broker *brokertest.RabbitMQ, s site) {
	f := newFaulty(t, s, amqp.Config{})
	lost := f.wait(1)
	f.slow.RequireRunning(t, 1)
	broker.Ctl("close_all_connections", "maintenance")
	requireEnds(t, lost, jsonrpc2.ErrReplyLost)
	s.requireConsumers(t, 1) // the request was not acknowledged, and does not run beside itself
	require.EqualValues(t, 1, f.caller.conn.Stats().Lost)
	f.requireRecovers(t)
	require.NotZero(t, f.clientLog.Count("maintenance"), &f.clientLog)
	f.slow.Open()
	servicetest.Eventually(t, func() bool { return f.worker.conn.Stats().Undelivered == 1 }, "the answer")
	require.EqualValues(t, 1, f.slow.Ran.Load())
	f.caller.end(t)
	f.worker.End(t)
	s.requireWaiting(t, 0)
}

func testMemoryAlarm(t *testing.T, broker *brokertest.RabbitMQ, s site) {
	testAlarm(t, s, broker.MemoryAlarm)
}

func testDiskAlarm(t *testing.T, broker *brokertest.RabbitMQ, s site) {
	testAlarm(t, s, broker.DiskAlarm)
}

// testRequeueInAlarm requeues a dead request while the broker takes nothing from publishers:
// that fails soon, and the request stays dead.
func testRequeueInAlarm(t *testing.T, s site) {
	list := s.deadList(t)
	dead, err := list.List(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	begin := time.Now()
	moved, err := list.Requeue(t.Context(), dead...)
	require.ErrorContains(t, err, "the broker takes no messages now: low on ")
	require.Zero(t, moved)
	require.Less(t, time.Since(begin), 2*closeTime)
	servicetest.EventuallyEqual(t, 1, func() int {
		n, err := list.Len(t.Context())
		require.NoError(t, err)
		return n
	})
}

// testAlarm makes the broker take nothing from publishers for a while. The requests that ran
// are acknowledged nevertheless, calls end in time, and so does Close.
func testAlarm(t *testing.T, s site, alarm func(on bool)) {
	s.declare(t, true, false, nil)
	site{s.url, s.deadQueue()}.declare(t, true, false, nil)
	site{s.url, s.deadQueue()}.publish(t, s.channel(t), amqp.Publishing{Body: []byte(request(0))})
	f := newFaulty(t, s, amqp.Config{})
	late := f.wait(1)
	f.slow.RequireRunning(t, 1)
	alarm(true)
	defer alarm(false)
	testRequeueInAlarm(t, s)
	servicetest.Eventually(t, func() bool {
		_ = f.caller.conn.WriteRequest(newRequest(note)) // who publishes is told
		err := f.caller.conn.Err()
		return err != nil && strings.Contains(err.Error(), "the broker blocks publishers")
	})
	for range 3 {
		begin := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		_, err := jsonrpc2.Call[float64](ctx, f.Client, "Calc.Add", calc.Args{})
		cancel()
		require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
		require.Less(t, time.Since(begin), closeTime)
	}
	other := dial(t, s, nil, servicetest.Soon) // a connection made in the alarm
	pending := other.Go("Calc.Add", []int{1, 2}, new(float64), nil)
	servicetest.Eventually(t, func() bool { return other.conn.Stats().Requests == 1 }, "it is not known to be blocked")
	other.end(t)
	require.Error(t, (<-pending.Done).Error)
	second := start(t, s, nil, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	s.requireConsumers(t, 2)
	second.End(t)

	f.slow.Gate <- struct{}{}
	alarm(false)
	requireWaited(t, late)
	f.requireSurvived(t, 0)
}

// A write that the broker does not read from must not keep Close waiting.
func testAlarmFillsSockets(t *testing.T, broker *brokertest.RabbitMQ, s site) {
	f := newFaulty(t, s, amqp.Config{})
	broker.MemoryAlarm(true)
	defer broker.MemoryAlarm(false)
	conn, err := amqpconn.Dial(s.url, s.queue, &amqpconn.DialOptions{Logger: servicetest.Quiet})
	require.NoError(t, err)
	defer conn.Close()
	for range 3 { // more than sockets hold
		servicetest.Eventually(t, func() bool { return conn.WriteRequest(newRequest(string(make([]byte, 8<<20)))) == nil })
	}
	begin := time.Now()
	require.NoError(t, conn.Close())
	require.Less(t, time.Since(begin), closeTime)
	broker.MemoryAlarm(false)
	f.requireSurvived(t, 0)
}

// A broker that keeps its connections and answers nothing.
func testBrokerSuspended(t *testing.T, broker *brokertest.RabbitMQ, s site) {
	f := newFaulty(t, s, amqp.Config{})
	closing := map[string]*amqpconn.DialOptions{
		"default": {Logger: servicetest.Quiet}, "per call": {Logger: servicetest.Quiet, ReplyPerCall: true}, "checked": {Logger: servicetest.Quiet, RequireServer: true},
	}
	var clients []caller
	for _, opts := range closing {
		c := dial(t, s, opts, 0)
		c.requireAdds(t)
		clients = append(clients, c)
	}
	idle := serve(t, s, nil)
	broker.Stop()
	defer broker.Cont()
	for _, c := range clients {
		c.Go("Calc.Add", nil, new(float64), nil)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	_, err := jsonrpc2.Call[float64](ctx, f.Client, "Calc.Add", calc.Args{})
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	for _, c := range clients {
		c.end(t)
	}
	begin := time.Now()
	idle.End(t)
	require.Less(t, time.Since(begin), closeTime)
	broker.Cont()
	f.requireSurvived(t, 0)
}

func testBrokerRestarted(t *testing.T, broker *brokertest.RabbitMQ, s site) {
	f := newFaulty(t, s, amqp.Config{})
	lost := f.wait(1)
	f.slow.RequireRunning(t, 1)
	awaitAge(t, s, 2*time.Second)
	broker.Kill()
	f.requireImpaired(t, broker.Addr)
	requireEnds(t, lost, jsonrpc2.ErrReplyLost)
	begin := time.Now()
	_, err := f.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	require.Less(t, time.Since(begin), closeTime)
	broker.Start()
	servicetest.Eventually(t, func() bool { // the request survived
		return strings.Contains(broker.Queues("name", "messages_ready", "messages_unacknowledged"), s.queue+"\t0\t1\n")
	})
	f.requireRecovers(t)
	requireConnected(t, f.caller.conn)
	requireConnected(t, f.worker.conn)
	f.requireSurvived(t, 1)
	require.Equal(t, net.ErrClosed, f.caller.conn.Err())
	require.Equal(t, net.ErrClosed, f.worker.conn.Err())
	s.requireWaiting(t, 0)
}

// requireImpaired waits until a Conn says what is wrong, in these words.
func requireImpaired(t *testing.T, connErr func() error, words string) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		err := connErr()
		return err != nil && strings.Contains(err.Error(), words)
	}, words)
}

// requireImpaired waits until both ends say what is wrong.
func (f *faulty) requireImpaired(t *testing.T, words ...string) {
	t.Helper()
	for _, err := range []func() error{f.caller.conn.Err, f.worker.conn.Err} {
		servicetest.Eventually(t, func() bool { return err() != nil })
		for _, word := range append(words, "queue ", "connection impaired") {
			require.ErrorContains(t, err(), word)
		}
	}
}

// awaitAge waits until what was declared is so old: RabbitMQ may lose what is
// newer when it is killed.
func awaitAge(t *testing.T, s site, age time.Duration) {
	t.Helper()
	young := time.After(age)
	for c := dial(t, s, nil, 0); ; {
		c.requireAdds(t)
		select {
		case <-young:
			c.end(t)
			return
		default:
		}
	}
}

// A connection on which nothing comes through any more is found to be dead by
// its heartbeats.
func TestBlackHole(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
	f := newFaulty(t, s.at(proxy.Addr), amqp.Config{Heartbeat: time.Second})
	running := f.wait(1)
	f.slow.RequireRunning(t, 1)
	proxy.BlackHole(true)
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err := jsonrpc2.Call[float64](ctx, f.Client, "Calc.Add", calc.Args{})
	require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
	requireEnds(t, running, jsonrpc2.ErrReplyLost)
	_, err = f.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	servicetest.Eventually(t, func() bool { return f.serverLog.Count("trying again") == 1 })
	for _, e := range []end{f.caller.conn, f.worker.conn} { // both connections of each: one outage
		servicetest.EventuallyEqual(t, 2, e.Changes)
	}

	// Close doesn't wait for it either, whatever it has to do with the broker.
	quickest := closeTime // on a machine that stalls one may take longer
	for _, opts := range callModes {
		c := dialing(t, s.at(proxy.Addr), &opts, 0)
		c.Go("Calc.Add", nil, new(float64), nil)
		begin := time.Now()
		c.end(t)
		quickest = min(quickest, time.Since(begin))
	}
	require.Less(t, quickest, 4*time.Second, "a handshake that is not answered ends after 5 s")
	proxy.BlackHole(false)
	s.requireHeld(t)
	f.requireSurvived(t, 1)
	s.requireWaiting(t, 0)
}

// Close returns in time also when it is the first to find that nothing comes
// through any more.
func TestCloseIntoABlackHole(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
	slow := servicetest.NewSlow()
	w := serve(t, s.at(proxy.Addr), nil, slow)
	var clients []caller
	for _, opts := range callModes {
		c := dial(t, s.at(proxy.Addr), &opts, 0)
		c.wait(len(clients))
		clients = append(clients, c)
		slow.RequireRunning(t, int64(len(clients)))
	}
	proxy.BlackHole(true)
	for i, c := range clients {
		c.wait(i)
		c.end(t)
	}
	for range clients {
		slow.Gate <- struct{}{}
	}
	begin := time.Now()
	w.End(t)
	require.Less(t, time.Since(begin), closeTime)
}

// An end is one end of a queue, with two connections.
type end interface {
	Changes() int64
	Err() error
}

// cut cuts the connections of ends that go through a proxy, and waits until all work again.
func cut(t *testing.T, proxy *brokertest.Proxy, ends ...end) {
	t.Helper()
	sever(t, proxy, ends...)()
}

// sever cuts the connections of ends, and waits until each end knows of both of its own. mend
// lets them connect again, and waits until all work. If one of two connections could work again
// before the end of the other is known, an end would count two outages.
func sever(t *testing.T, proxy *brokertest.Proxy, ends ...end) (mend func()) {
	t.Helper()
	var before []int64
	for _, e := range ends {
		before = append(before, e.Changes())
	}
	await := func(more int64) {
		t.Helper()
		for i, e := range ends {
			servicetest.Eventually(t, func() bool { return e.Changes() == before[i]+more })
		}
	}
	proxy.Refuse(true)
	await(2)
	return func() {
		t.Helper()
		proxy.Refuse(false)
		await(4)
		for _, e := range ends { // the outage is counted then, too
			requireConnected(t, e)
		}
	}
}

func TestConnectionCut(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
	f := newFaulty(t, s.at(proxy.Addr), amqp.Config{})
	for n := range 3 {
		mend := sever(t, proxy, f.caller.conn, f.worker.conn)
		servicetest.Eventually(t, func() bool {
			return f.clientLog.Count("trying again") == n+1 && f.serverLog.Count("trying again") == n+1
		})
		mend()
		servicetest.Eventually(t, func() bool { return f.clientLog.Count("level=INFO") == n+1 && f.serverLog.Count("level=INFO") == n+1 })
	}
	f.requireSurvived(t, 3)
}

// A channel that the broker closes for an error is replaced with its connection.
func TestChannelErrors(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	f := newFaulty(t, s, amqp.Config{})
	lost := f.wait(1)
	f.slow.RequireRunning(t, 1)
	require.NoError(t, f.caller.conn.BreakChannels())
	requireEnds(t, lost, jsonrpc2.ErrReplyLost)
	require.NoError(t, f.worker.conn.BreakChannels())
	for _, log := range []*servicetest.LogBook{&f.clientLog, &f.serverLog} {
		servicetest.Eventually(t, func() bool { return log.Count("level=ERROR", "PRECONDITION_FAILED - unknown delivery tag") > 0 })
	}
	f.requireRecovers(t)
	f.slow.Open()
	f.caller.end(t)
	f.worker.End(t)
	s.requireWaiting(t, 0)
}
