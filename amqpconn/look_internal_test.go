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
	for name, hook := range map[string]func(c *caller, released chan struct{}){
		"receiver": func(c *caller, _ chan struct{}) { c.endReceiver() },
		"publisher": func(c *caller, _ chan struct{}) {
			session, _ := c.publisher.current()
			_ = session.ch.Close()
		},
		"both": func(c *caller, _ chan struct{}) {
			session, _ := c.publisher.current()
			c.endReceiver()
			_ = session.ch.Close()
		},
		"no answer": func(_ *caller, released chan struct{}) { <-released },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			queue := link.NewName()
			serveAll(t, queue)
			conn, err := Dial(brokertest.SharedRabbitMQ(t).URL(), queue, &DialOptions{MaxBacklog: 1000, Logger: slog.New(slog.DiscardHandler)})
			require.NoError(t, err)
			c := conn.end.(*caller)
			released := make(chan struct{})
			var once sync.Once
			look := c.seen.look
			c.seen.look = func() queueState { // before the first call is made
				once.Do(func() { hook(c, released) })
				return look()
			}
			client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Timeout: time.Hour, Logger: slog.New(slog.DiscardHandler)})
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
				_ = conn.Close()
			}
		})
	}
}

// endReceiver ends the receiver's connection and waits until that is known.
func (c *caller) endReceiver() {
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
