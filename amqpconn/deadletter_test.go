package amqpconn_test

import (
	"context"
	"fmt"
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

// Only what ended its servers, or was rejected, is kept: not what expired, nor what was too
// much for the queue.
func TestDeadLetterKeeps(t *testing.T) {
	t.Parallel()
	const limit = 2 // of deliveries, and of what waits
	for name, queue := range map[string]amqpconn.Queue{
		"classic": {DeadLetter: true, Args: amqp.Table{"x-max-length": limit}},
		"quorum":  {DeadLetter: true, Quorum: true, Args: amqp.Table{"x-max-length": limit, "x-delivery-limit": limit}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newDeadSite(t, queue)
			c := dial(t, s.site, nil, 50*time.Millisecond)
			for range 3 {
				_, err := c.add(1, 5.1)
				require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
			}
			s.requireWaiting(t, 0)
			s.Push(t, request(0), request(1), request(2)) // the first one is dropped
			want := []string{request(2), request(1)}
			servicetest.Eventually(t, func() bool { q, _ := s.inspect(s.queue); return q.Messages == limit })
			s.reject(t, request(1))
			s.requireDead(t, 1)
			if queue.Quorum {
				s.exceed(t, limit)
			} else {
				s.reject(t, request(2))
			}
			s.requireDead(t, 2)
			s.requireWaiting(t, 0)
			dead, err := s.deadList(t).List(t.Context(), -1)
			require.NoError(t, err)
			reasons := []string{"rejected", "rejected"}
			if queue.Quorum {
				reasons[0] = "delivery_limit"
			}
			for i, d := range dead {
				require.Equal(t, want[i], string(d.Request))
				require.Equal(t, reasons[i], d.Reason)
				require.WithinDuration(t, time.Now(), d.Time, time.Minute)
				require.Zero(t, d.Attempts)
			}
		})
	}
}

// RabbitMQ notes in the header that routes why a message died first: one that has come by a
// queue that delays it is not kept.
func TestDeadLetterOfDelayed(t *testing.T) {
	t.Parallel()
	s, delay := newDeadSite(t, amqpconn.Queue{DeadLetter: true}), newSite(t)
	delay.declare(t, true, false, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": s.queue, "x-message-ttl": 1})
	delay.publish(t, s.channel(t), amqp.Publishing{Body: []byte(request(0))})
	s.requireWaiting(t, 1)
	s.Push(t, request(1))
	s.reject(t, request(0), request(1))
	s.requireDead(t, 1)
	s.requireWaiting(t, 0)
	dead, err := s.deadList(t).List(t.Context(), -1)
	require.NoError(t, err)
	require.Equal(t, request(1), string(dead[0].Request))
}

func request(n int) string { return fmt.Sprintf(`{"jsonrpc":"2.0","id":"%d","method":"Calc.Add"}`, n) }

// exceed takes the only request of the queue, and ends, until its delivery limit is exceeded.
func (s site) exceed(t *testing.T, limit int) {
	t.Helper()
	for range 1 + limit {
		ch := s.channel(t)
		servicetest.Eventually(t, func() bool {
			_, ok, err := ch.Get(s.queue, false)
			require.NoError(t, err)
			return ok
		})
		require.NoError(t, ch.Close())
	}
}

// A queue that is there is used as it is, and nothing is created beside it. The DeadList says
// that, and what to do.
func TestNoDeadList(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	list := s.deadList(t)
	requireNone := func(why string) {
		_, err := list.Len(t.Context())
		require.ErrorIs(t, err, jsonrpc2.ErrNoDeadList)
		require.ErrorContains(t, err, why)
		_, err = list.List(t.Context(), 1)
		require.ErrorIs(t, err, jsonrpc2.ErrNoDeadList)
		_, err = list.Requeue(t.Context(), jsonrpc2.DeadRequest{})
		require.ErrorIs(t, err, jsonrpc2.ErrNoDeadList)
		_, err = list.Delete(t.Context(), jsonrpc2.DeadRequest{})
		require.ErrorIs(t, err, jsonrpc2.ErrNoDeadList)
		require.ErrorContains(t, err, fmt.Sprintf("delete of the dead requests of queue %q at ", s.queue))
	}
	requireNone("does not exist; have it created with Queue.DeadLetter")
	s.declare(t, true, false, nil)
	var log servicetest.LogBook
	serve(t, s, &amqpconn.ListenOptions{Queue: amqpconn.Queue{DeadLetter: true}, Logger: log.Logger()})
	c := dial(t, s, &amqpconn.DialOptions{Declare: &amqpconn.Queue{DeadLetter: true}, Logger: log.Logger()}, 0)
	c.requireAdds(t)
	require.Zero(t, log.Count(""), &log)
	requireNone("was created without Queue.DeadLetter; delete it when it is empty")
}

// A queue that was deleted is created again, and its dead requests stay; a client creates both,
// too.
func TestDeadLetterCreatedAgain(t *testing.T) {
	t.Parallel()
	s := newDeadSite(t, amqpconn.Queue{DeadLetter: true})
	require.True(t, s.declared(t, true, amqp.Table{"x-dead-letter-exchange": s.deadQueue()}))
	s.Bury(t, request(0))
	s.delete(t)
	c := dial(t, s.site, &amqpconn.DialOptions{Declare: &amqpconn.Queue{DeadLetter: true}, Logger: servicetest.Quiet}, 0)
	call := c.Go("Calc.Add", []float64{1, 5.1}, new(float64), nil)
	s.requireWaiting(t, 1)
	serve(t, s.site, nil)
	<-call.Done
	require.NoError(t, call.Error)
	s.requireDead(t, 1)
}

// The list keeps the newest 10,000. A look at all of them takes seconds.
func TestDeadListLimit(t *testing.T) {
	t.Parallel()
	const limit, more = amqpconn.MaxDead, 5
	s := newDeadSite(t, amqpconn.Queue{DeadLetter: true})
	ch := s.channel(t)
	for n := range limit + more {
		require.NoError(t, ch.PublishWithContext(t.Context(), s.deadQueue(), "", false, false, amqp.Publishing{
			Body:    []byte(request(n)),
			Headers: amqp.Table{"x-first-death-reason": "rejected"},
		}))
	}
	require.NoError(t, ch.Close())
	s.requireDead(t, limit)
	begin := time.Now()
	list := s.deadList(t)
	newest, err := list.List(t.Context(), 2)
	require.NoError(t, err)
	require.Len(t, newest, 2)
	require.Equal(t, request(limit+more-1), string(newest[0].Request))
	require.True(t, newest[0].Time.IsZero(), "which nobody said")
	t.Logf("listed after %v", time.Since(begin))
	all, err := list.List(t.Context(), -1)
	require.NoError(t, err)
	require.Len(t, all, limit)
	require.Equal(t, request(more), string(all[limit-1].Request))
	begin = time.Now()
	moved, err := list.Requeue(t.Context(), all...)
	require.NoError(t, err)
	require.Equal(t, limit, moved)
	t.Logf("requeued after %v", time.Since(begin))
	s.requireWaiting(t, limit)
	s.requireDead(t, 0)
}

// A request is queued again as its client sent it, but that it does not expire. The broker
// would refuse the name of another user.
func TestRequeuedMessage(t *testing.T) {
	t.Parallel()
	s := newDeadSite(t, amqpconn.Queue{DeadLetter: true, Quorum: true})
	sent := amqp.Publishing{
		Headers:         amqp.Table{"traceparent": "00-1", "x-mine": int32(1), "x-delivery-count": int64(100), "CC": []any{s.queue + "other"}},
		ContentType:     "application/json",
		ContentEncoding: "identity",
		DeliveryMode:    amqp.Persistent,
		Priority:        3,
		CorrelationId:   "correlated",
		ReplyTo:         "replies",
		Expiration:      "3600000",
		MessageId:       "message",
		Timestamp:       time.Unix(1000, 0),
		Type:            "type",
		UserId:          "guest",
		AppId:           "app",
		Body:            []byte(request(1)),
	}
	s.publish(t, s.channel(t), sent)
	s.requireWaiting(t, 1)
	s.reject(t, request(1))
	s.requireDead(t, 1)

	operator := s.as(t, brokertest.SharedRabbitMQ(t), ".*", ".*", ".*").deadList(t)
	dead, err := operator.List(t.Context(), 1)
	require.NoError(t, err)
	moved, err := operator.Requeue(t.Context(), dead...)
	require.NoError(t, err)
	require.Equal(t, 1, moved)
	got, ok, err := s.channel(t).Get(s.queue, true)
	require.NoError(t, err)
	require.True(t, ok)
	require.EqualValues(t, 0, got.Headers["x-delivery-count"], "the broker's own")
	delete(got.Headers, "x-delivery-count")
	require.Equal(t, amqp.Publishing{
		Headers:         amqp.Table{"traceparent": "00-1", "x-mine": int32(1)},
		ContentType:     sent.ContentType,
		ContentEncoding: sent.ContentEncoding,
		DeliveryMode:    sent.DeliveryMode,
		Priority:        sent.Priority,
		CorrelationId:   sent.CorrelationId,
		ReplyTo:         sent.ReplyTo,
		MessageId:       sent.MessageId,
		Timestamp:       sent.Timestamp,
		Type:            sent.Type,
		AppId:           sent.AppId,
		Body:            sent.Body,
	}, amqp.Publishing{
		Headers:         got.Headers,
		ContentType:     got.ContentType,
		ContentEncoding: got.ContentEncoding,
		DeliveryMode:    got.DeliveryMode,
		Priority:        got.Priority,
		CorrelationId:   got.CorrelationId,
		ReplyTo:         got.ReplyTo,
		Expiration:      got.Expiration,
		MessageId:       got.MessageId,
		Timestamp:       got.Timestamp,
		Type:            got.Type,
		UserId:          got.UserId,
		AppId:           got.AppId,
		Body:            got.Body,
	})
}

// A full queue refuses: the request stays dead.
func TestRequeueToFullQueue(t *testing.T) {
	t.Parallel()
	s := newDeadSite(t, amqpconn.Queue{DeadLetter: true, Args: amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"}})
	s.Bury(t, request(0))
	s.Push(t, request(1))
	list := s.deadList(t)
	dead, err := list.List(t.Context(), -1)
	require.NoError(t, err)
	moved, err := list.Requeue(t.Context(), dead...)
	require.ErrorContains(t, err, "the broker refused it")
	require.Zero(t, moved)
	s.requireDead(t, 1)
	require.Equal(t, []string{request(1)}, s.Drain(t))
}

// A look waits for another one, until its ctx ends, or for so long at most.
func TestLookWaits(t *testing.T) {
	t.Parallel()
	s := newDeadSite(t, amqpconn.Queue{DeadLetter: true})
	s.Bury(t, request(0))
	other := s.channel(t)
	_, err := other.QueueDeclare(s.queue+".dead.look", false, false, true, false, nil)
	require.NoError(t, err)
	list := s.deadList(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = list.List(ctx, 1)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	list.SetPatience(50 * time.Millisecond)
	_, err = list.List(t.Context(), 1)
	require.ErrorContains(t, err, "another look at them has not ended within 50ms")
	n, err := list.Len(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, n)
	_, err = other.QueueDelete(s.queue+".dead.look", false, false, false)
	require.NoError(t, err)
	dead, err := list.List(t.Context(), 1)
	require.NoError(t, err)
	require.Len(t, dead, 1)
}

// The other nodes are tried when the first one can't be reached.
func TestDeadListNodes(t *testing.T) {
	t.Parallel()
	s := newDeadSite(t, amqpconn.Queue{DeadLetter: true})
	list, err := amqpconn.NewDeadList(absent, s.queue, &amqpconn.DeadListOptions{URLs: []string{absent, s.url}})
	require.NoError(t, err)
	n, err := list.Len(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
	list, err = amqpconn.NewDeadList(absent, s.queue, &amqpconn.DeadListOptions{URLs: []string{absent}})
	require.NoError(t, err)
	_, err = list.Len(t.Context())
	require.ErrorContains(t, err, "connection refused; 127.0.0.1:1/")
	require.NotContains(t, err.Error(), "secret")
}

func TestBadDeadList(t *testing.T) {
	t.Parallel()
	for want, test := range map[string]struct{ url, queue string }{
		"the queue has no name": {absent, ""},
		"longer than 245 bytes": {absent, strings.Repeat("x", 246)},
		"URL 1 of 1 is bad":     {"http://user:secret@host", "calc"},
	} {
		list, err := amqpconn.NewDeadList(test.url, test.queue, nil)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "secret")
		require.Nil(t, list)
	}
	for want, queue := range map[string]amqpconn.Queue{
		"can't be plain":                     {DeadLetter: true, Plain: true},
		"excludes an x-dead-letter-exchange": {DeadLetter: true, Args: amqp.Table{"x-dead-letter-exchange": ""}},
	} {
		_, err := amqpconn.Listen(absent, "calc", &amqpconn.ListenOptions{Queue: queue})
		require.ErrorContains(t, err, want)
		_, err = amqpconn.Dial(absent, "calc", &amqpconn.DialOptions{Declare: &queue})
		require.ErrorContains(t, err, want)
	}
	_, err := amqpconn.Listen(absent, strings.Repeat("x", 246), &amqpconn.ListenOptions{Queue: amqpconn.Queue{DeadLetter: true}})
	require.ErrorContains(t, err, "longer than 245 bytes")
}
