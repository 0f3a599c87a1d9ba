package amqpconn_test

import (
	"crypto/rand"
	"fmt"
	"net/url"
	"strings"
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

// as returns the site for a new user, who may configure, write and read the names that the
// three patterns match.
func (s site) as(t *testing.T, broker *brokertest.RabbitMQ, configure, write, read string) site {
	t.Helper()
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	name := strings.ToLower(rand.Text())
	broker.Eval(fmt.Sprintf(`ok = rabbit_auth_backend_internal:add_user(<<%q>>, <<"secret">>, <<"test">>)`, name))
	u.User = url.UserPassword(name, "secret")
	as := site{u.String(), s.queue}
	as.may(t, broker, configure, write, read)
	return as
}

// may changes what the user of the site may do.
func (s site) may(t *testing.T, broker *brokertest.RabbitMQ, configure, write, read string) {
	t.Helper()
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	broker.Eval(fmt.Sprintf(`ok = rabbit_auth_backend_internal:set_permissions(<<%q>>, <<"/">>, <<%q>>, <<%q>>, <<%q>>, <<"test">>)`,
		u.User.Username(), configure, write, read))
}

// A server that may not write says so at once, and has acknowledged nothing that
// it could not answer.
func TestNoRightToAnswer(t *testing.T) {
	t.Parallel()
	const requests = 40
	broker := brokertest.SharedRabbitMQ(t)
	for _, confirm := range []bool{false, true} {
		t.Run(fmt.Sprint("confirm ", confirm), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			var log servicetest.LogBook
			ch := s.channel(t)
			counter := new(servicetest.Counter)
			w := start(t, s.as(t, broker, ".*", "", ".*"), &amqpconn.ListenOptions{ConfirmReplies: confirm, Logger: log.Logger()},
				jsonrpc2.ServerOptions{Logger: servicetest.Quiet}, counter)
			servicetest.Eventually(t, func() bool {
				return log.Count("level=ERROR", fmt.Sprintf("queue=%q", s.queue), "ACCESS_REFUSED", "right to write", "amq.default") == 1
			}, &log)
			s.requireConsumers(t, 1)
			own, answers := replyQueue(t, ch, "")
			for i := range requests {
				s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"Counter.Count"}`, i)})
			}
			servicetest.Eventually(t, func() bool { return counter.N.Load() == requests })
			w.endUnsent(t, requests)
			require.Zero(t, w.conn.Stats().Replies)
			s.requireWaiting(t, requests)

			serve(t, s, nil, counter)
			for range requests {
				take(t, answers)
			}
		})
	}
}

// The right to write may be taken away later. What was confirmed is counted, and
// nothing else.
func TestRightToAnswerRevoked(t *testing.T) {
	t.Parallel()
	broker := brokertest.SharedRabbitMQ(t)
	for _, confirm := range []bool{false, true} {
		t.Run(fmt.Sprint("confirm ", confirm), func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			u := s.as(t, broker, ".*", ".*", ".*")
			var log servicetest.LogBook
			w := serveWith(t, u, &amqpconn.ListenOptions{ConfirmReplies: confirm, Logger: log.Logger()}, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
			ch := s.channel(t)
			own, answers := replyQueue(t, ch, "")
			s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("1"))})
			take(t, answers)
			servicetest.Eventually(t, func() bool { return w.conn.Stats().Replies == 1 })
			u.may(t, broker, ".*", "", ".*")
			kept := int64(0) // for a channel that is in use the broker remembers what it may
			refused := func() bool { return log.Count("level=ERROR", "right to write", "amq.default") > 0 }
			publish := func() { s.publish(t, ch, amqp.Publishing{ReplyTo: own, Body: []byte(add("2"))}) }
			publish()
			for begin := time.Now(); !refused(); { // one request after another: the last one is refused
				require.Less(t, time.Since(begin), servicetest.Soon, &log)
				select {
				case <-answers:
					kept++
					<-time.After(2 * time.Second) // in which the channel is not in use
					publish()
				case <-time.After(servicetest.Tick):
				}
			}
			if confirm {
				w.endUnsent(t, 1)
			} else {
				w.End(t)
			}
			require.LessOrEqual(t, w.conn.Stats().Replies, 1+kept)
			if confirm {
				require.EqualValues(t, 1+kept, w.conn.Stats().Replies)
				s.requireWaiting(t, 1)
			} else {
				require.Equal(t, 1, log.Count("level=ERROR", "answers were lost with their channel"), &log)
				require.NotZero(t, w.conn.Stats().Undelivered)
			}
		})
	}
}

// An answer that the broker returns or refuses is logged and counted, and its
// request acknowledged: to run it again would not help.
func TestConfirmedReplies(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	var log servicetest.LogBook
	w := serveWith(t, s, &amqpconn.ListenOptions{ConfirmReplies: true, Logger: servicetest.Quiet}, jsonrpc2.ServerOptions{Logger: log.Logger()})
	ch := s.channel(t)
	full, err := ch.QueueDeclare("", false, false, true, false, amqp.Table{"x-max-length": int32(0), "x-overflow": "reject-publish"})
	require.NoError(t, err)
	own, answers := replyQueue(t, ch, "")
	const each = 50
	for i := range each {
		for _, address := range []string{full.Name, "gone", own} {
			// Strangers choose the correlation: it tells none apart.
			s.publish(t, ch, amqp.Publishing{ReplyTo: address, CorrelationId: "c", Body: []byte(add(fmt.Sprint(i)))})
		}
	}
	for range each {
		take(t, answers)
	}
	servicetest.Eventually(t, func() bool { return w.conn.Stats().Undelivered == 2*each }, "want %d of %v", 2*each, fmt.Sprint(w.conn.Stats()))
	w.End(t)
	servicetest.EventuallyEqual(t, amqpconn.ServerStats{Requests: 3 * each, Replies: each, Undelivered: 2 * each}, w.conn.Stats)
	require.Positive(t, log.Count("level=WARN", "nobody waits for the answer"), &log)
	s.requireWaiting(t, 0)
}

// An answer that was lost with its connection is published again, and its method
// does not run again.
func TestConfirmedRepliesSurviveTheirConnection(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	counter := new(servicetest.Counter)
	w := serve(t, s, &amqpconn.ListenOptions{ConfirmReplies: true, Logger: servicetest.Quiet}, counter)
	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	const requests = 2000
	for i := range requests {
		s.publish(t, ch, amqp.Publishing{ReplyTo: own, CorrelationId: fmt.Sprint(i),
			Body: fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%d,"method":"Counter.Count"}`, i)})
		if i%400 == 200 {
			w.conn.BreakPublisher()
		}
	}
	answered := make(map[string]bool)
	for len(answered) < requests { // some come twice
		answered[take(t, answers).CorrelationId] = true
	}
	w.End(t)
	require.EqualValues(t, requests, counter.N.Load())
	s.requireWaiting(t, 0)
}

// Close reports each answer that it can't send, and their number. The broker delivers the
// requests of these answers again.
func TestCloseTellsOfAnswers(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	mute := s.as(t, brokertest.SharedRabbitMQ(t), ".*", "", ".*")
	conn, err := amqpconn.Listen(mute.url, mute.queue, &amqpconn.ListenOptions{Logger: servicetest.Quiet})
	require.NoError(t, err)
	lost := make(chan string, 10)
	require.NoError(t, conn.Open(jsonrpc2.Settings{InFlight: 10, Lost: func(body []byte, why error) {
		assert.ErrorContains(t, why, `answer to "there"`)
		assert.ErrorContains(t, why, `right to write "amq.default"`)
		lost <- string(body)
	}}))
	ch := s.channel(t)
	s.publish(t, ch, amqp.Publishing{ReplyTo: "there", Body: []byte(add("1"))})
	s.publish(t, ch, amqp.Publishing{Body: []byte(`{"jsonrpc":"2.0","method":"note"}`)})
	first, err := conn.ReadRequest(t.Context())
	require.NoError(t, err)
	require.Equal(t, add("1"), string(first.Body))
	second, err := conn.ReadRequest(t.Context())
	require.NoError(t, err)
	require.NoError(t, first.Reply([]byte("answer")))
	require.NoError(t, second.Reply(nil))
	servicetest.Eventually(t, func() bool { return conn.Err() != nil && strings.Contains(conn.Err().Error(), "right to write") })
	require.ErrorContains(t, conn.Close(), "closed with 1 answers unsent")
	require.NoError(t, conn.Close())
	require.Len(t, lost, 1)
	require.Equal(t, "answer", <-lost)
	require.EqualValues(t, 1, conn.Stats().Undelivered)
	s.requireWaiting(t, 1)
}

// An answer that is not delivered is counted, and does no harm, when no codec has opened the
// Conn: there is nobody to tell.
func TestLostWithoutOpen(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.declare(t, true, false, nil)
	conn, err := amqpconn.Listen(s.url, s.queue, &amqpconn.ListenOptions{Logger: servicetest.Quiet})
	require.NoError(t, err)
	s.publish(t, s.channel(t), amqp.Publishing{ReplyTo: "gone", Body: []byte(add("1"))})
	d, err := conn.ReadRequest(t.Context())
	require.NoError(t, err)
	require.NoError(t, d.Reply([]byte("answer")))
	servicetest.Eventually(t, func() bool { return conn.Stats().Undelivered == 1 })
	require.NoError(t, conn.Close())
}
