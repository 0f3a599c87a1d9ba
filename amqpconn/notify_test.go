package amqpconn_test

import (
	"fmt"
	"net/rpc"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// mixed is a batch of a notification and a call.
var mixed = "[" + note + "," + add(`"1"`) + "]"

// Notifications and batches with one go by a channel that confirms. It is opened with the
// first of them: calls, also in a batch, need none.
func TestConfirmsOnDemand(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"notification":             note,
		"batch of notifications":   "[" + note + "," + note + "]",
		"batch with calls as well": mixed,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			serve(t, s, nil, new(servicetest.Counter))
			conn := dialConn(t, s, amqpconn.DialOptions{})
			for _, calls := range []string{add(`"1"`), "[" + add(`"2"`) + "," + add(`"3"`) + "]"} {
				w := write(t, conn, calls)
				reply, err := conn.ReadReply(t.Context())
				require.NoError(t, err)
				require.Same(t, w.Request, reply.Request)
			}
			require.False(t, conn.Confirms())
			require.NoError(t, write(t, conn, body).outcome(t))
			require.True(t, conn.Confirms())
			servicetest.Eventually(t, func() bool { return conn.Stats().Confirmed == 1 })
		})
	}
}

// A queue takes as many notifications as its limit says, and refuses the next one, which
// has not run then. When there is room again it takes others.
func TestNotificationsToAFullQueue(t *testing.T) {
	t.Parallel()
	for name, persistent := range sendModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.declare(t, true, false, amqp.Table{"x-max-length": int32(1), "x-overflow": "reject-publish"})
			conn := dialConn(t, s, amqpconn.DialOptions{Persistent: persistent})
			require.NoError(t, write(t, conn, note).outcome(t))
			s.requireWaiting(t, 1)
			for _, body := range []string{note, mixed} {
				err := write(t, conn, body).outcome(t)
				require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
				require.ErrorContains(t, err, fmt.Sprintf("queue %q at %s", s.queue, brokertest.SharedRabbitMQ(t).Addr))
				require.ErrorContains(t, err, "send it again later")
			}
			counter := new(servicetest.Counter)
			serve(t, s, nil, counter)
			servicetest.Eventually(t, func() bool { return counter.N.Load() == 1 })
			s.requireWaiting(t, 0)
			require.NoError(t, write(t, conn, note).outcome(t))
			servicetest.Eventually(t, func() bool { return counter.N.Load() == 2 })
			servicetest.EventuallyEqual(t, amqpconn.ClientStats{Requests: 4, Confirmed: 2, Overloaded: 2}, conn.Stats)
		})
	}
}

// A queue that was deleted takes no notification, and says what to do.
func TestNotificationsAfterTheQueueIsDeleted(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	conn := dialConn(t, s, amqpconn.DialOptions{})
	require.NoError(t, write(t, conn, note).outcome(t))
	s.delete(t)
	for _, body := range []string{note, mixed} {
		err := write(t, conn, body).outcome(t)
		require.ErrorIs(t, err, jsonrpc2.ErrNoServer)
		require.ErrorContains(t, err, "there is no such queue; start a server, which creates it, or set Declare")
	}
	require.EqualValues(t, 2, conn.Stats().NoServer)
}

// A connection that ends between a message and its confirm leaves it open whether the
// broker has it: here it has. The next notification is sent on another connection.
func TestConfirmIsLost(t *testing.T) {
	t.Parallel()
	for name, persistent := range sendModes {
		for kind, body := range map[string]string{"notification": note, "batch": mixed} {
			t.Run(name+", "+kind, func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				s.declare(t, true, false, nil)
				proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
				conn := dialConn(t, s.at(proxy.Addr), amqpconn.DialOptions{Persistent: persistent})
				require.NoError(t, write(t, conn, note).outcome(t))
				proxy.DropReply([]byte(body))
				one, call := watch(note), watch(add(`"1"`))
				r := one.Request
				if body == mixed {
					r = jsonrpc2.JoinRequests([]byte(mixed), jsonrpc2.Hooks{}, one.Request, call.Request)
				}
				require.NoError(t, conn.WriteRequest(r))
				err := one.outcome(t)
				require.ErrorIs(t, err, jsonrpc2.ErrUnconfirmed)
				require.ErrorContains(t, err, fmt.Sprintf("queue %q at %s", s.queue, proxy.Addr))
				require.ErrorContains(t, err, "if it is sent again, it may run twice")
				call.requireOpen(t)
				s.requireWaiting(t, 2)
				requireConnected(t, conn)
				require.NoError(t, write(t, conn, note).outcome(t))
				require.EqualValues(t, 1, conn.Stats().Unconfirmed)
			})
		}
	}
}

// Close waits for the confirms of all that was accepted.
func TestCloseAwaitsConfirms(t *testing.T) {
	t.Parallel()
	const notifications = 20_000 // more than wait for their confirms at once
	s := newSite(t)
	s.declare(t, true, false, nil)
	conn := dialConn(t, s, amqpconn.DialOptions{})
	require.NoError(t, write(t, conn, note).outcome(t)) // it is connected
	var sent, failed atomic.Int64
	for range notifications {
		r := jsonrpc2.NewRequest(t.Context(), []byte(note), jsonrpc2.Hooks{
			Sent: func() { sent.Add(1) },
			Fail: func(error) { failed.Add(1) },
		})
		require.NoError(t, conn.WriteRequest(r))
	}
	begin := time.Now()
	require.NoError(t, conn.Close())
	require.Less(t, time.Since(begin), servicetest.Soon)
	require.EqualValues(t, notifications, sent.Load()+failed.Load(), "each has an end")
	require.EqualValues(t, sent.Load()+1, conn.Stats().Confirmed)
	require.EqualValues(t, failed.Load(), conn.Stats().Unsent+conn.Stats().Unconfirmed)
	require.Positive(t, sent.Load())
}

// Notifications of many goroutines all arrive, each once, also where they are joined to
// batches with calls.
func TestManyNotifications(t *testing.T) {
	t.Parallel()
	const senders, each = 64, 10_000 / 64
	for name, persistent := range sendModes {
		for _, batch := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", batch ", batch), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				ledger := &Ledger{runs: make(map[int]int)}
				serve(t, s, nil, ledger)
				conn := dialConn(t, s, amqpconn.DialOptions{Persistent: persistent})
				client := newBatching(conn, batch)
				defer client.Close()
				var sending sync.WaitGroup
				for sender := range senders {
					sending.Go(func() {
						for i := range each {
							n := sender*each + i
							if batch && n%3 == 0 {
								got, err := jsonrpc2.Call[int](t.Context(), client, "Ledger.Enter", n)
								assert.NoError(t, err)
								assert.Equal(t, n, got)
								continue
							}
							assert.NoError(t, jsonrpc2.Notify(t.Context(), client, "Ledger.Enter", n))
						}
					})
				}
				sending.Wait()
				servicetest.Eventually(t, func() bool { numbers, _ := ledger.count(); return numbers == senders*each })
				s.requireWaiting(t, 0)
				_, all := ledger.count()
				require.Equal(t, senders*each, all, "each once")
			})
		}
	}
}

// newBatching returns a client of conn, in batches or not.
func newBatching(conn jsonrpc2.ClientConn, batch bool) *rpc.Client {
	if batch {
		conn = jsonrpc2.Batch(conn, nil)
	}
	return jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
}

// A notification over the broker's limit fails by itself: it costs no call its answer, and
// those after it are sent.
func testOverTheLimit(t *testing.T, broker *brokertest.RabbitMQ, s site) {
	limit := func(bytes int) { broker.Eval(fmt.Sprintf("application:set_env(rabbit, max_message_size, %d)", bytes)) }
	limit(1000)
	defer limit(128 << 20)
	slow := servicetest.NewSlow()
	serve(t, s, nil, slow, new(servicetest.Counter))
	c := dial(t, s, nil, servicetest.Soon)
	waiting := c.wait(1)
	slow.RequireRunning(t, 1)
	large := `{"jsonrpc":"2.0","method":"Counter.Count","params":["` + strings.Repeat("x", 1000) + `"]}`
	err := write(t, c.conn, large).outcome(t)
	require.ErrorIs(t, err, jsonrpc2.ErrUnconfirmed)
	require.ErrorContains(t, err, "max size")
	servicetest.Eventually(t, func() bool { return write(t, c.conn, note).outcome(t) == nil })
	slow.Open()
	requireWaited(t, waiting)
	require.Zero(t, c.conn.Stats().Lost)
}
