package brokertest_test

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// channel opens a channel on a connection of its own.
func channel(t *testing.T, r *brokertest.RabbitMQ) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(r.URL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

// put puts a message in a durable queue and waits until the broker has it.
func put(t *testing.T, r *brokertest.RabbitMQ, queue, body string) {
	t.Helper()
	ctx := context.Background()
	ch := channel(t, r)
	_, err := ch.QueueDeclare(queue, true, false, false, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.Confirm(false))
	confirmation, err := ch.PublishWithDeferredConfirm("", queue, false, false,
		amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent})
	require.NoError(t, err)
	acked, err := confirmation.WaitContext(ctx)
	require.NoError(t, err)
	require.True(t, acked)
}

// requireGet takes a message out of a queue.
func requireGet(t *testing.T, r *brokertest.RabbitMQ, queue, body string) {
	t.Helper()
	message, ok, err := channel(t, r).Get(queue, true)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, body, string(message.Body))
}

func TestRabbitMQ(t *testing.T) {
	t.Parallel()
	r := brokertest.StartRabbitMQ(t)
	put(t, r, "durable", "persistent")
	r.Eval("mnesia:sync_log()") // RabbitMQ writes down later that there is a queue
	r.Kill()
	r.Kill() // a dead one may be killed again
	_, err := amqp.Dial(r.URL())
	require.ErrorContains(t, err, "connection refused")
	r.Start()
	requireGet(t, r, "durable", "persistent")
	require.Contains(t, r.Ctl("list_queues", "name"), "durable")

	r.Stop()
	_, err = amqp.DialConfig(r.URL(), amqp.Config{Dial: amqp.DefaultDial(100 * time.Millisecond)})
	require.ErrorContains(t, err, "timeout")
	r.Cont()
	put(t, r, "queue", "message")
	r.Stop() // for the cleanup: a stopped one can be killed too
}

func TestSharedRabbitMQ(t *testing.T) {
	r := brokertest.SharedRabbitMQ(t)
	put(t, r, t.Name(), "message")
	requireGet(t, brokertest.SharedRabbitMQ(t), t.Name(), "message")
	require.Contains(t, r.Ctl("list_users"), "guest")
	require.Contains(t, r.Queues("name", "messages_ready", "messages"), t.Name()+"\t0\t0\n")
}

func TestShutdown(t *testing.T) {
	r := brokertest.SharedRabbitMQ(t)
	require.NoError(t, brokertest.Shutdown())
	require.NoError(t, brokertest.Shutdown()) // there is nothing left to end
	_, err := amqp.Dial(r.URL())
	require.ErrorContains(t, err, "connection refused")
}
