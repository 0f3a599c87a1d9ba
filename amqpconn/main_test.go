package amqpconn_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/rpc"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

func TestMain(m *testing.M) {
	if os.Getenv(serveURL) != "" {
		servePoison()
		return
	}
	goleak.VerifyTestMain(brokertest.Main(m))
}

const (
	soon      = time.Minute // for what should not take long
	tick      = 10 * time.Millisecond
	closeTime = 2 * time.Second // for Close, at most
)

// eventually waits until a condition holds.
func eventually(t *testing.T, condition func() bool, msgAndArgs ...any) {
	t.Helper()
	require.Eventually(t, condition, soon, tick, msgAndArgs...)
}

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
	eventually(t, func() bool {
		q, ok := s.inspect(s.queue)
		return ok && q.Messages == messages
	}, "want %d messages in %q", messages, s.queue)
}

func (s site) requireConsumers(t *testing.T, consumers int) {
	t.Helper()
	eventually(t, func() bool {
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

// take waits for a delivery.
func take(t *testing.T, deliveries <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case d, ok := <-deliveries:
		require.True(t, ok, "the channel is closed")
		return d
	case <-time.After(soon):
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
	conn  *amqpconn.ServerConn
	drain context.CancelFunc
	done  chan struct{} // closed when Serve has returned
	err   error         // what it returned
}

// serve starts a worker that serves Calc and the other services given, and waits
// until it consumes. The test's cleanup ends it.
func serve(t *testing.T, s site, opts *amqpconn.ListenOptions, services ...any) *worker {
	t.Helper()
	return serveWith(t, s, opts, jsonrpc2.ServerOptions{Logger: quiet}, services...)
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
	server := rpc.NewServer()
	for _, service := range append(services, calc.Calc{}) {
		require.NoError(t, server.Register(service))
	}
	if opts == nil {
		opts = &amqpconn.ListenOptions{Logger: quiet}
	}
	conn, err := amqpconn.Listen(s.url, s.queue, opts)
	require.NoError(t, err)
	codec.Service = "Calc"
	ctx, cancel := context.WithCancel(context.Background())
	w := &worker{conn: conn, drain: cancel, done: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = jsonrpc2.Serve(ctx, server, conn, &codec)
	}()
	t.Cleanup(func() {
		for _, service := range services {
			if slow, ok := service.(*Slow); ok {
				slow.open() // where the test failed before
			}
		}
		w.end(t)
	})
	return w
}

// end drains the worker and waits until it is gone.
func (w *worker) end(t *testing.T) {
	t.Helper()
	require.NoError(t, w.ended(t))
}

// endUnsent is end of a worker that can't send so many answers.
func (w *worker) endUnsent(t *testing.T, answers int) {
	t.Helper()
	require.ErrorContains(t, w.ended(t), fmt.Sprintf("closed with %d answers unsent", answers))
	w.err = nil // it is known
}

// ended drains the worker and returns what Serve returned.
func (w *worker) ended(t *testing.T) error {
	t.Helper()
	w.drain()
	select {
	case <-w.done:
	case <-time.After(soon):
		require.FailNow(t, "the server does not end")
	}
	return w.err
}

// A caller is a client of a queue.
type caller struct {
	*rpc.Client
	conn *amqpconn.ClientConn
}

// dial returns a caller, closed by the test's cleanup. A zero timeout is the
// default.
func dial(t *testing.T, s site, opts *amqpconn.DialOptions, timeout time.Duration) caller {
	t.Helper()
	if opts == nil {
		opts = &amqpconn.DialOptions{Logger: quiet}
	}
	conn, err := amqpconn.Dial(s.url, s.queue, opts)
	require.NoError(t, err)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc", Positional: true, Timeout: timeout, Logger: quiet})
	t.Cleanup(func() { _ = client.Close() })
	return caller{client, conn}
}

// end closes the caller, which takes no longer than it may.
func (c caller) end(t *testing.T) {
	t.Helper()
	begin := time.Now()
	require.NoError(t, c.Close())
	require.Less(t, time.Since(begin), closeTime)
}

func (c caller) add(a, b float64) (float64, error) {
	return jsonrpc2.Call[float64](context.Background(), c.Client, "Calc.Add", calc.Args{A: a, B: b})
}

func (c caller) requireAdds(t *testing.T) {
	t.Helper()
	sum, err := c.add(1, 5.1)
	require.NoError(t, err)
	require.Equal(t, 6.1, sum)
}

// requireRecovers waits until calls work again.
func (c caller) requireRecovers(t *testing.T) {
	t.Helper()
	eventually(t, func() bool { sum, err := c.add(1, 5.1); return err == nil && sum == 6.1 })
}

// Slow is a service whose calls run until they are let go.
type Slow struct {
	gate               chan struct{} // each value lets a call go, its closing all
	opening            sync.Once
	running, most, ran atomic.Int64

	mu sync.Mutex // protects most
}

func newSlow() *Slow { return &Slow{gate: make(chan struct{})} }

// Wait returns n when it is let go.
func (s *Slow) Wait(n int, reply *int) error {
	s.mu.Lock()
	s.most.Store(max(s.most.Load(), s.running.Add(1)))
	s.mu.Unlock()
	<-s.gate
	s.running.Add(-1)
	s.ran.Add(1)
	*reply = n
	return nil
}

// open lets all calls go.
func (s *Slow) open() { s.opening.Do(func() { close(s.gate) }) }

func (s *Slow) requireRunning(t *testing.T, n int64) {
	t.Helper()
	eventually(t, func() bool { return s.running.Load() == n }, "want %d running calls", n)
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
		case <-time.After(soon):
			require.FailNow(t, "a call hangs")
		}
	}
}

// Counter is a service that counts its calls.
type Counter struct{ n atomic.Int64 }

// Count returns how many calls there were.
func (c *Counter) Count(_ struct{}, n *int64) error {
	*n = c.n.Add(1)
	return nil
}

// quiet is a logger for what a test does not look at.
var quiet = slog.New(slog.DiscardHandler)

// A logBook keeps what is logged.
type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// count returns how many lines contain all the words.
func (l *logBook) count(words ...string) (n int) {
	for line := range strings.Lines(l.String()) {
		n++
		for _, word := range words {
			if !strings.Contains(line, word) {
				n--
				break
			}
		}
	}
	return n
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
