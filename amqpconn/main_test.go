package amqpconn_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/rpc"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestMain(m *testing.M) {
	if os.Getenv(serveURL) != "" {
		servePoison()
		return
	}
	// Once, at the end of all tests, a reader of amqp091-go 1.16 waited in dispatch for a caller that
	// was gone, though its connection was closed. By its source that can be: openChannel releases a
	// channel whose opening failed without shutting it down. It was not replayed. A connection that
	// a test leaves open still shows by its other goroutines.
	forgotten := goleak.IgnoreAnyFunction("github.com/rabbitmq/amqp091-go.(*Channel).dispatch")
	goleak.VerifyTestMain(brokertest.Main(m), forgotten)
}

// closeTime is the time for a Close, or for a call that can't be sent, at most. Each takes less
// than 2 s; the rest is for a machine that stalls.
const closeTime = 15 * time.Second

// A site is a queue on a broker.
type site struct{ url, queue string }

// newSite returns a site on the broker that all tests share, with a queue that
// nobody else uses. The test's cleanup deletes it.
func newSite(t *testing.T) site {
	t.Helper()
	s := site{brokertest.SharedRabbitMQ(t).URL(), strings.ReplaceAll(t.Name(), "/", " ") + " " + rand.Text()}
	t.Cleanup(func() { s.delete(t) })
	return s
}

// at is the site seen through another address of the broker.
func (s site) at(addr string) site {
	return site{"amqp://guest:guest@" + addr + "/", s.queue}
}

// channel returns a channel on a connection of its own, closed by the test's
// cleanup.
func (s site) channel(t *testing.T) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(s.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

// inspect returns what the broker knows of a queue. ok is false if there is none.
func (s site) inspect(queue string) (q amqp.Queue, ok bool) {
	conn, err := amqp.Dial(s.url)
	if err != nil {
		return q, false
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return q, false
	}
	q, err = ch.QueueDeclarePassive(queue, false, false, false, false, nil)
	return q, err == nil
}

// requireWaiting waits until so many messages are in the queue and not
// delivered.
func (s site) requireWaiting(t *testing.T, messages int) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		q, ok := s.inspect(s.queue)
		return ok && q.Messages == messages
	}, "want %d messages in %q", messages, s.queue)
}

func (s site) requireConsumers(t *testing.T, consumers int) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		q, ok := s.inspect(s.queue)
		return ok && q.Consumers == consumers
	}, "want %d consumers of %q", consumers, s.queue)
}

func (s site) delete(t *testing.T) {
	t.Helper()
	_, err := s.channel(t).QueueDelete(s.queue, false, false, false)
	require.NoError(t, err)
}

// declare creates the queue as a test wants it.
func (s site) declare(t *testing.T, durable, autoDelete bool, args amqp.Table) {
	t.Helper()
	_, err := s.channel(t).QueueDeclare(s.queue, durable, autoDelete, false, false, args)
	require.NoError(t, err)
}

// publish publishes a raw request.
func (s site) publish(t *testing.T, ch *amqp.Channel, msg amqp.Publishing) {
	t.Helper()
	require.NoError(t, ch.PublishWithContext(context.Background(), "", s.queue, false, false, msg))
}

// replyQueue returns the name of a new reply queue, and what comes there.
func replyQueue(t *testing.T, ch *amqp.Channel, name string) (string, <-chan amqp.Delivery) {
	t.Helper()
	q, err := ch.QueueDeclare(name, false, true, name == "", false, nil)
	require.NoError(t, err)
	deliveries, err := ch.Consume(q.Name, "", true, false, false, false, nil)
	require.NoError(t, err)
	return q.Name, deliveries
}

// requireNoMore requires that nothing has come to a reply queue besides what was taken: the
// next there is a message of its own.
func requireNoMore(t *testing.T, ch *amqp.Channel, queue string, deliveries <-chan amqp.Delivery) {
	t.Helper()
	const end = "that is all"
	require.NoError(t, ch.PublishWithContext(context.Background(), "", queue, false, false, amqp.Publishing{Body: []byte(end)}))
	require.Equal(t, end, string(take(t, deliveries).Body))
}

// take waits for a delivery.
func take(t *testing.T, deliveries <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case d, ok := <-deliveries:
		require.True(t, ok, "the channel is closed")
		return d
	case <-time.After(servicetest.Soon):
		require.FailNow(t, "nothing is delivered")
		return amqp.Delivery{}
	}
}

// newRequest returns a request that no client made.
func newRequest(body string) *jsonrpc2.Request {
	return jsonrpc2.NewRequest(context.Background(), []byte(body), jsonrpc2.Hooks{})
}

// A worker is a running server of a queue.
type worker struct {
	*servicetest.Server
	conn *amqpconn.ServerConn
}

// serve starts a worker that serves Calc and the other services given, and waits
// until it consumes. The test's cleanup ends it.
func serve(t *testing.T, s site, opts *amqpconn.ListenOptions, services ...any) *worker {
	t.Helper()
	return serveWith(t, s, opts, jsonrpc2.ServerOptions{Logger: servicetest.Quiet}, services...)
}

func serveWith(t *testing.T, s site, opts *amqpconn.ListenOptions, codec jsonrpc2.ServerOptions, services ...any) *worker {
	t.Helper()
	q, _ := s.inspect(s.queue)
	w := start(t, s, opts, codec, services...)
	s.requireConsumers(t, q.Consumers+1)
	return w
}

// start is serveWith without the waiting.
func start(t *testing.T, s site, opts *amqpconn.ListenOptions, codec jsonrpc2.ServerOptions, services ...any) *worker {
	t.Helper()
	if opts == nil {
		opts = &amqpconn.ListenOptions{Logger: servicetest.Quiet}
	}
	conn, err := amqpconn.Listen(s.url, s.queue, opts)
	require.NoError(t, err)
	w := &worker{servicetest.Serve(t, conn, codec, services...), conn}
	t.Cleanup(func() {
		for _, service := range services {
			if slow, ok := service.(*servicetest.Slow); ok {
				slow.Open() // where the test failed before
			}
		}
	})
	return w
}

// endUnsent is end of a worker that can't send so many answers.
func (w *worker) endUnsent(t *testing.T, answers int) {
	t.Helper()
	require.ErrorContains(t, w.Ended(t), fmt.Sprintf("closed with %d answers unsent", answers))
	w.Err = nil // it is known
}

// A caller is a client of a queue.
type caller struct {
	*rpc.Client
	conn *amqpconn.ClientConn
}

// dial returns a connected caller, closed by the test's cleanup. A zero timeout is the
// default.
func dial(t *testing.T, s site, opts *amqpconn.DialOptions, timeout time.Duration) caller {
	t.Helper()
	c := dialing(t, s, opts, timeout)
	requireConnected(t, c.conn)
	return c
}

// requireConnected waits until an end is connected: a request waits for that for 1.5 s only.
func requireConnected(t *testing.T, conn interface{ Err() error }) {
	t.Helper()
	servicetest.Eventually(t, func() bool { return conn.Err() == nil }, "not connected")
}

// dialing is dial without the waiting.
func dialing(t *testing.T, s site, opts *amqpconn.DialOptions, timeout time.Duration) caller {
	t.Helper()
	if opts == nil {
		opts = &amqpconn.DialOptions{Logger: servicetest.Quiet}
	}
	conn, err := amqpconn.Dial(s.url, s.queue, opts)
	require.NoError(t, err)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc", Positional: true, Timeout: timeout, Logger: servicetest.Quiet})
	t.Cleanup(func() { _ = client.Close() })
	return caller{client, conn}
}

func (c caller) add(a, b float64) (float64, error) { return servicetest.Add(c.Client, a, b) }

func (c caller) requireAdds(t *testing.T) {
	t.Helper()
	servicetest.RequireAdds(t, c.Client)
}

// end closes the caller, which takes no longer than it may.
func (c caller) end(t *testing.T) {
	t.Helper()
	begin := time.Now()
	require.NoError(t, c.Close())
	require.Less(t, time.Since(begin), closeTime)
}

// requireRecovers waits until calls work again.
func (c caller) requireRecovers(t *testing.T) {
	t.Helper()
	servicetest.Eventually(t, func() bool { sum, err := c.add(1, 5.1); return err == nil && sum == 6.1 })
}

// wait calls a Slow without waiting for the answer.
func (c caller) wait(n int) *rpc.Call {
	return c.Go("Slow.Wait", n, new(int), nil)
}

// requireWaited requires that a wait was answered.
func requireWaited(t *testing.T, calls ...*rpc.Call) {
	t.Helper()
	for _, call := range calls {
		select {
		case <-call.Done:
			require.NoError(t, call.Error)
			require.Equal(t, call.Args, *call.Reply.(*int))
		case <-time.After(servicetest.Soon):
			require.FailNow(t, "a call hangs")
		}
	}
}
