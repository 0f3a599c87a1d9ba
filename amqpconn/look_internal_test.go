package amqpconn

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// The connections may end while a client looks at its queue, one or both of them.
// No call then waits for an answer to a reply queue that is gone: each is answered
// or fails, long before its timeout. Nor does one wait for a look that is not
// answered.
func TestConnectionEndsDuringALook(t *testing.T) {
	t.Parallel()
	const calls = 60
	for name, hook := range map[string]func(c *ClientConn, released chan struct{}){
		"receiver": func(c *ClientConn, _ chan struct{}) { c.endReceiver() },
		"publisher": func(c *ClientConn, _ chan struct{}) {
			session := c.outlets[0].channel.current()
			_ = session.ch.Close()
		},
		"both": func(c *ClientConn, _ chan struct{}) {
			session := c.outlets[0].channel.current()
			c.endReceiver()
			_ = session.ch.Close()
		},
		"no answer": func(_ *ClientConn, released chan struct{}) { <-released },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queue := link.NewName()
			serveAll(t, queue)
			c, err := Dial(brokertest.SharedRabbitMQ(t).URL(), queue, &DialOptions{MaxBacklog: 1000, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			released := make(chan struct{})
			var once sync.Once
			look := c.outlets[0].seen.look
			c.outlets[0].seen.look = func() queueState { // before the first call is made
				once.Do(func() { hook(c, released) })
				return look()
			}
			client := jsonrpc2.NewClient(c, &jsonrpc2.ClientOptions{Timeout: time.Hour, Logger: slog.New(slog.DiscardHandler)})
			defer client.Close()
			defer close(released)
			var calling sync.WaitGroup
			for range calls {
				call := client.Go("Any.Method", nil, new(int), nil)
				calling.Go(func() { <-call.Done })
			}
			ended := make(chan struct{})
			go func() { calling.Wait(); close(ended) }()
			select {
			case <-ended:
			case <-time.After(20 * time.Second):
				require.Fail(t, "calls hang")
				_ = c.Close()
			}
		})
	}
}

// endReceiver ends the receiver's connection and waits until that is known.
func (c *ClientConn) endReceiver() {
	s := c.receiver.current()
	_ = s.conn.CloseDeadline(time.Now().Add(time.Second))
	for c.receiver.current() == s {
		time.Sleep(time.Millisecond)
	}
}

// serveAll answers all requests with 1.
func serveAll(t *testing.T, queue string) {
	t.Helper()
	conn, err := amqp.Dial(brokertest.SharedRabbitMQ(t).URL())
	require.NoError(t, err)
	ch, err := conn.Channel()
	require.NoError(t, err)
	_, err = ch.QueueDeclare(queue, false, true, false, false, nil)
	require.NoError(t, err)
	requests, err := ch.Consume(queue, "", true, false, false, false, nil)
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for d := range requests {
			_ = ch.PublishWithContext(context.Background(), "", d.ReplyTo, false, false, amqp.Publishing{
				CorrelationId: d.CorrelationId,
				Body:          fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%q,"result":1}`, d.CorrelationId),
			})
		}
	}()
	t.Cleanup(func() { _ = conn.Close(); <-done })
}

// A broker that is slow to create a queue costs no request that missed it: it
// certainly did not run, and is tried for as long as others are.
func TestQueueIsNotCreatedInTime(t *testing.T) {
	t.Parallel()
	c, err := Dial("amqp://127.0.0.1:1/", "calc", &DialOptions{Declare: &Queue{}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer c.Close()
	released := make(chan struct{})
	defer close(released)
	asked := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go link.Ask(ctx, c.looks, func() bool { close(asked); <-released; return true })
	<-asked
	cancel()

	newRequest := func(missed bool, until time.Time) request {
		r := jsonrpc2.NewRequest(t.Context(), []byte(`{"jsonrpc":"2.0","id":"1","method":"add"}`), jsonrpc2.Hooks{})
		return request{Request: r, id: "1", wantsAnswer: true, missed: missed, until: until}
	}
	now := time.Now()
	other, missed, late := newRequest(false, now), newRequest(true, now.Add(time.Hour)), newRequest(true, now)
	others, again := c.outlets[0].declared([]request{other, missed, late})
	require.Equal(t, []request{other}, others)
	require.Equal(t, []request{missed}, again)
	require.True(t, late.GivenUp())
	require.EqualValues(t, 1, c.Stats().Unsent)
}
