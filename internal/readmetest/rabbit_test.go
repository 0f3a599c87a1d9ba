package readmetest

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

var rabbitFailures = []failure{
	{"rabbitmq", "ErrUnavailable", 0, func(t *testing.T, s *Counted) outcome {
		client := dial(t, dialingRabbit(t, "amqp://127.0.0.1:"+brokertest.FreePort(t), t.Name(), nil), jsonrpc2.ClientOptions{})
		return outcome{err: call(client, "Quick", Args{Name: "it"})}
	}},
	{"rabbitmq", "ErrNoServer", 0, func(t *testing.T, s *Counted) outcome {
		url := brokertest.SharedRabbitMQ(t).URL()
		client := dial(t, dialRabbit(t, url, t.Name(), nil), jsonrpc2.ClientOptions{})
		err := call(client, "Quick", Args{Name: "it"})
		return outcome{err, dial(t, s.onRabbit(t, url), jsonrpc2.ClientOptions{})}
	}},
	{"rabbitmq", "ErrOverloaded", 0, func(t *testing.T, s *Counted) outcome {
		url := brokertest.SharedRabbitMQ(t).URL()
		// RabbitMQ itself refuses what is too much. With MaxBacklog a call is sent in doubt.
		full := amqpconn.Queue{Args: amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"}}
		conn := dialRabbit(t, url, t.Name(), &amqpconn.DialOptions{Declare: &full, Persistent: true})
		client := dial(t, conn, jsonrpc2.ClientOptions{})
		waits := client.Go("Counted.Quick", Args{Name: "first"}, new(string), nil)
		servicetest.Eventually(t, func() bool { return conn.Stats().Confirmed == 1 })
		err := call(client, "Quick", Args{Name: "it"})
		alive := dial(t, s.onRabbit(t, url), jsonrpc2.ClientOptions{})
		require.NoError(t, (<-waits.Done).Error)
		return outcome{err, alive}
	}},
	{"rabbitmq", "ErrTooLarge", 0, func(t *testing.T, s *Counted) outcome {
		url := brokertest.SharedRabbitMQ(t).URL()
		other := dialRabbit(t, url, t.Name(), &amqpconn.DialOptions{Declare: &amqpconn.Queue{Plain: true}})
		return tooLargeRequest(t, s.onRabbit(t, url), other)
	}},
	{"rabbitmq", "ErrTimeout", 1, func(t *testing.T, s *Counted) outcome {
		return timeout(t, s, s.onRabbit(t, brokertest.SharedRabbitMQ(t).URL()))
	}},
	{"rabbitmq", "ErrReplyLost", 1, func(t *testing.T, s *Counted) outcome {
		broker := brokertest.StartRabbitMQ(t)
		conn := s.onRabbit(t, broker.URL())
		client := dial(t, conn, jsonrpc2.ClientOptions{})
		under := client.Go("Counted.Wait", Args{Name: "it"}, new(string), nil)
		servicetest.Eventually(t, func() bool { return s.runs("it") > 0 })
		typed := make(chan error, 1)
		go func() { typed <- call(client, "Wait", Args{Name: "it"}) }()
		servicetest.Eventually(t, func() bool { return s.runs("it") > 1 })
		broker.Ctl("close_all_connections", "--vhost", "/", "test")
		require.Error(t, (<-under.Done).Error)
		err := <-typed
		s.end()
		servicetest.Eventually(t, func() bool { return conn.Err() == nil })
		return outcome{err, client}
	}},
	{"rabbitmq", "ErrBadReply", 1, func(t *testing.T, s *Counted) outcome {
		return badReply(t, s.onRabbit(t, brokertest.SharedRabbitMQ(t).URL()))
	}},
	{"rabbitmq", "ErrReplyTooLarge", 1, func(t *testing.T, s *Counted) outcome {
		return tooLargeReply(t, s.onRabbit(t, brokertest.SharedRabbitMQ(t).URL()))
	}},
}

// dialRabbit returns a Conn that is connected: a call waits for that for 1.5 s only.
func dialRabbit(t *testing.T, url, queue string, opts *amqpconn.DialOptions) *amqpconn.ClientConn {
	conn := dialingRabbit(t, url, queue, opts)
	servicetest.Eventually(t, func() bool { return conn.Err() == nil })
	return conn
}

// dialingRabbit is dialRabbit without the waiting.
func dialingRabbit(t *testing.T, url, queue string, opts *amqpconn.DialOptions) *amqpconn.ClientConn {
	if opts == nil {
		opts = &amqpconn.DialOptions{}
	}
	opts.Logger = servicetest.Quiet
	conn, err := amqpconn.Dial(url, queue, opts)
	require.NoError(t, err)
	return conn
}

// onRabbit serves a queue named like the test, and returns a Conn that calls it. The queue is
// deleted at the end of the test, unless its broker is gone.
func (s *Counted) onRabbit(t *testing.T, url string) *amqpconn.ClientConn {
	t.Cleanup(func() { deleteQueue(url, t.Name()) })
	plain := amqpconn.Queue{Plain: true}
	conn, err := amqpconn.Listen(url, t.Name(), &amqpconn.ListenOptions{Queue: plain, Logger: servicetest.Quiet})
	require.NoError(t, err)
	s.serve(t, conn, jsonrpc2.ServerOptions{})
	return dialRabbit(t, url, t.Name(), &amqpconn.DialOptions{Declare: &plain})
}

func deleteQueue(url, queue string) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return
	}
	defer conn.Close()
	if ch, err := conn.Channel(); err == nil {
		_, _ = ch.QueueDelete(queue, false, false, false)
	}
}
