package amqpconn_test

import (
	"context"
	"fmt"
	"sync"
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

const note = `{"jsonrpc":"2.0","method":"Counter.Count"}`

// A watched request tells how it ends.
type watched struct {
	*jsonrpc2.Request
	sent   chan struct{} // holds one once it was sent
	failed chan error
}

func watch(body string) *watched {
	w := &watched{sent: make(chan struct{}, 1), failed: make(chan error, 1)}
	w.Request = jsonrpc2.NewRequest(context.Background(), []byte(body), jsonrpc2.Hooks{
		Sent: func() {
			select {
			case w.sent <- struct{}{}:
			default:
			}
		},
		Fail: func(err error) { w.failed <- err },
	})
	return w
}

// write writes a request.
func write(t *testing.T, conn *amqpconn.ClientConn, body string) *watched {
	t.Helper()
	w := watch(body)
	require.NoError(t, conn.WriteRequest(w.Request))
	return w
}

// outcome waits for the end of a request: nil if it was sent.
func (w *watched) outcome(t *testing.T) error {
	t.Helper()
	select {
	case <-w.sent:
		return nil
	case err := <-w.failed:
		return err
	case <-time.After(servicetest.Soon):
		require.FailNow(t, "a request has no end")
		return nil
	}
}

// requireOpen requires that a request has not ended.
func (w *watched) requireOpen(t *testing.T) {
	t.Helper()
	require.Empty(t, w.sent)
	require.Empty(t, w.failed)
}

// dialConn returns a connected ClientConn that no codec has.
func dialConn(t *testing.T, s site, opts amqpconn.DialOptions) *amqpconn.ClientConn {
	t.Helper()
	conn := dialingConn(t, s, opts)
	requireConnected(t, conn)
	return conn
}

// dialingConn is dialConn without the waiting.
func dialingConn(t *testing.T, s site, opts amqpconn.DialOptions) *amqpconn.ClientConn {
	t.Helper()
	if opts.Logger == nil {
		opts.Logger = servicetest.Quiet
	}
	conn, err := amqpconn.Dial(s.url, s.queue, &opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	return conn
}

// sendModes are the ways to send notifications, by Persistent: on a channel of their own,
// and on that of the calls.
var sendModes = map[string]bool{"own channel": false, "persistent": true}

// Each of many notifications is sent, and is in the queue then.
func TestNotificationsAreSent(t *testing.T) {
	t.Parallel()
	const senders, each = 20, 50
	for name, persistent := range sendModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			s.declare(t, true, false, nil)
			conn := dialConn(t, s, amqpconn.DialOptions{Persistent: persistent})
			var sending sync.WaitGroup
			for range senders {
				sending.Go(func() {
					for range each {
						w := watch(note)
						if assert.NoError(t, conn.WriteRequest(w.Request)) {
							assert.NoError(t, w.outcome(t))
						}
					}
				})
			}
			sending.Wait()
			s.requireWaiting(t, senders*each)
			require.EqualValues(t, senders*each, conn.Stats().Requests)
		})
	}
}

// A notification of which nothing is known when its connection ends may have been
// sent. Until then it has no end.
func TestNotificationIsUnconfirmed(t *testing.T) {
	t.Parallel()
	for name, persistent := range sendModes {
		for _, closed := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", closed ", closed), func(t *testing.T) {
				t.Parallel()
				s := newSite(t)
				s.declare(t, true, false, nil)
				proxy := brokertest.StartProxy(t, brokertest.SharedRabbitMQ(t).Addr)
				conn := dialConn(t, s.at(proxy.Addr), amqpconn.DialOptions{Persistent: persistent, Config: amqp.Config{Heartbeat: time.Second}})
				require.NoError(t, write(t, conn, note).outcome(t))
				proxy.BlackHole(true)
				w := write(t, conn, note)
				servicetest.Eventually(t, func() bool { return conn.Stats().Requests == 2 })
				w.requireOpen(t)
				if closed {
					begin := time.Now()
					require.NoError(t, conn.Close())
					require.Less(t, time.Since(begin), closeTime)
					require.Len(t, w.failed, 1, "Close ends it")
				}
				err := w.outcome(t)
				require.ErrorIs(t, err, jsonrpc2.ErrUnconfirmed)
				require.ErrorContains(t, err, fmt.Sprintf("queue %q at %s", s.queue, proxy.Addr))
				require.EqualValues(t, 1, conn.Stats().Unconfirmed)
			})
		}
	}
}

// A notification to a queue that is missing has no server, as a call has none.
func TestNotificationToAMissingQueue(t *testing.T) {
	t.Parallel()
	for name, persistent := range sendModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const requests = 100
			s := newSite(t)
			conn := dialConn(t, s, amqpconn.DialOptions{Persistent: persistent})
			var all []*watched
			for i := range requests {
				body := note
				if i%2 == 0 {
					body = add(fmt.Sprintf(`"%d"`, i))
				}
				all = append(all, write(t, conn, body))
			}
			for _, w := range all {
				err := w.outcome(t)
				require.ErrorIs(t, err, jsonrpc2.ErrNoServer)
				require.ErrorContains(t, err, fmt.Sprintf("queue %q", s.queue))
			}
			require.NoError(t, conn.Close())
			stats := conn.Stats()
			require.EqualValues(t, requests, stats.NoServer)
			require.Zero(t, stats.Confirmed+stats.Unconfirmed)
		})
	}
}

// A notification whose queue is made again is sent once it is in that one.
func TestNotificationIsSentOnceMore(t *testing.T) {
	t.Parallel()
	for name, persistent := range sendModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const requests = 20
			s := newSite(t)
			conn := dialConn(t, s, amqpconn.DialOptions{Persistent: persistent, Declare: &amqpconn.Queue{}})
			require.NoError(t, write(t, conn, note).outcome(t))
			s.delete(t)
			var all []*watched
			for range requests {
				all = append(all, write(t, conn, note))
			}
			for _, w := range all {
				require.NoError(t, w.outcome(t))
			}
			s.requireWaiting(t, requests)
			require.Zero(t, conn.Stats().NoServer)
		})
	}
}

// A notification that the broker refuses fails, and so does one that it drops as the
// right to write is missing: it was certainly not run.
func TestNotificationIsRefused(t *testing.T) {
	t.Parallel()
	full := newSite(t)
	full.declare(t, true, false, amqp.Table{"x-max-length": int32(0), "x-overflow": "reject-publish"})
	for name, persistent := range sendModes {
		t.Run(name+", full", func(t *testing.T) {
			t.Parallel()
			conn := dialConn(t, full, amqpconn.DialOptions{Persistent: persistent})
			err := write(t, conn, note).outcome(t)
			require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
			require.ErrorContains(t, err, fmt.Sprintf("queue %q at", full.queue))
			require.ErrorContains(t, err, "the broker refused the request")
			require.EqualValues(t, 1, conn.Stats().Overloaded)
		})
	}

	s := newSite(t)
	s.declare(t, true, false, nil)
	mute := s.as(t, brokertest.SharedRabbitMQ(t), ".*", "", ".*")
	for name, persistent := range sendModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := dialConn(t, mute, amqpconn.DialOptions{Persistent: persistent})
			err := write(t, conn, note).outcome(t)
			require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
			require.ErrorContains(t, err, `right to write "amq.default"`)
			require.EqualValues(t, 1, conn.Stats().Unsent)
		})
	}
}

// A notification within a batch ends when the batch is in the queue, or is answered,
// and the calls beside it when they are answered.
func TestNotificationInABatch(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	conn := dialConn(t, s, amqpconn.DialOptions{})
	one, call := watch(note), watch(add(`"1"`))
	joined := jsonrpc2.JoinRequests([]byte("["+note+","+add(`"1"`)+"]"), jsonrpc2.Hooks{}, one.Request, call.Request)
	require.NoError(t, conn.WriteRequest(joined))
	require.NoError(t, one.outcome(t))
	require.True(t, one.GivenUp())
	require.False(t, call.GivenUp())
	serve(t, s, nil, new(servicetest.Counter))
	reply, err := conn.ReadReply(t.Context())
	require.NoError(t, err)
	require.Equal(t, "["+six(`"1"`)+"]", string(reply.Body))
	require.Same(t, joined, reply.Request)
	require.NoError(t, reply.Missing)
}

// Close leaves no request without an end that was handed over: what it can't send was
// certainly not run.
func TestCloseEndsWhatWaits(t *testing.T) {
	t.Parallel()
	var log servicetest.LogBook
	conn := dialingConn(t, site{absent, "calc"}, amqpconn.DialOptions{Logger: log.Logger()})
	requireImpaired(t, conn.Err, "connection refused")
	var all []*watched
	for _, body := range []string{note, add(`"1"`), "[" + note + "," + add(`"2"`) + "]"} {
		all = append(all, write(t, conn, body))
	}
	require.NoError(t, conn.Close())
	for _, w := range all {
		require.Len(t, w.failed, 1)
		err := w.outcome(t)
		require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
		require.ErrorContains(t, err, "connection refused")
	}
	servicetest.EventuallyEqual(t, amqpconn.ClientStats{Unsent: 3}, conn.Stats)
	require.Equal(t, 1, log.Count("level=WARN", "closed with requests unsent", "queue=calc", "requests=3", "connection refused"), &log)
}

// A Reply says which request it answers, and that nothing else will.
func TestReplyKnowsItsRequest(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	serve(t, s, nil)
	for name, opts := range callModes {
		t.Run(name, func(t *testing.T) {
			conn := dialConn(t, s, opts)
			w := write(t, conn, add(`"1"`))
			reply, err := conn.ReadReply(t.Context())
			require.NoError(t, err)
			require.Equal(t, six(`"1"`), string(reply.Body))
			require.Same(t, w.Request, reply.Request)
			require.ErrorIs(t, reply.Missing, jsonrpc2.ErrBadReply)
		})
	}
}
