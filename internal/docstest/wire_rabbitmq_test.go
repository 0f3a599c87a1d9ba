package docstest

import (
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// rabbitChannel returns a channel of a foreign program.
func rabbitChannel(t *testing.T) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(brokertest.SharedRabbitMQ(t).URL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

// A rabbitPlayer runs the commands of a session.
type rabbitPlayer struct {
	values
	ch    *amqp.Channel
	queue string // calc in the page
}

func newRabbitPlayer(t *testing.T) *rabbitPlayer {
	t.Helper()
	p := &rabbitPlayer{values: make(values), ch: rabbitChannel(t), queue: t.Name()}
	t.Cleanup(func() {
		if !p.ch.IsClosed() {
			_, _ = p.ch.QueueDelete(p.queue, false, false, false)
		}
	})
	return p
}

// queueOf returns the queue that a command names.
func (p *rabbitPlayer) queueOf(s step) string {
	if s.command[1] == "calc" {
		return p.queue
	}
	return p.fill(s.command[1])
}

func (p *rabbitPlayer) declare(t *testing.T, s step) {
	t.Helper()
	q, err := p.ch.QueueDeclare("", false, false, true, false, nil)
	require.NoError(t, err)
	p.values[strings.Trim(s.command[1], "<>")] = q.Name
}

func (p *rabbitPlayer) publish(t *testing.T, s step) {
	t.Helper()
	m := amqp.Publishing{Body: []byte(p.fill(s.body))}
	for _, property := range s.command[2:] {
		name, value, _ := strings.Cut(property, "=")
		to := map[string]*string{"reply_to": &m.ReplyTo, "correlation_id": &m.CorrelationId, "expiration": &m.Expiration}[name]
		require.NotNil(t, to, property)
		*to = p.fill(value)
	}
	require.NoError(t, p.ch.PublishWithContext(t.Context(), "", p.queueOf(s), false, false, m))
}

// consume takes one message from a queue.
func (p *rabbitPlayer) consume(t *testing.T, queue string) (m amqp.Delivery) {
	t.Helper()
	servicetest.Eventually(t, func() (ok bool) {
		var err error
		m, ok, err = p.ch.Get(queue, true)
		require.NoError(t, err)
		return ok
	})
	return m
}

// requirePublished requires that a message is what a PUBLISH of the page publishes.
func (p *rabbitPlayer) requirePublished(t *testing.T, s step, m amqp.Delivery) {
	t.Helper()
	got := map[string]string{"reply_to": m.ReplyTo, "correlation_id": m.CorrelationId, "expiration": m.Expiration}
	for _, property := range s.command[2:] {
		name, value, _ := strings.Cut(property, "=")
		p.requireText(t, value, got[name])
		delete(got, name)
	}
	for name, value := range got {
		require.Empty(t, value, "%s, which the page does not have", name)
	}
	p.requireMessage(t, s.body, string(m.Body))
}

// The client of each RabbitMQ session gets from our server what the page says.
func TestRabbitMQClientInPage(t *testing.T) {
	t.Parallel()
	eachSession(t, "rabbitmq", func(t *testing.T, session string) {
		p := newRabbitPlayer(t)
		p.values = newValues(session)
		servicetest.Serve(t, servicetest.Must(amqpconn.Listen(brokertest.SharedRabbitMQ(t).URL(), p.queue, &amqpconn.ListenOptions{
			Queue: amqpconn.Queue{Plain: true}, Logger: servicetest.Quiet})), quietServer)
		p.awaitQueue(t)
		var answer step
		for _, s := range readSteps(t, session) {
			switch {
			case !s.client && s.name() == "PUBLISH":
				answer = s // of our server
			case !s.client:
			case s.name() == "DECLARE":
				p.declare(t, s)
			case s.name() == "PUBLISH":
				p.publish(t, s)
			case s.returns != "":
				p.requireMessage(t, s.returns, string(p.consume(t, p.queueOf(s)).Body))
			default:
				p.requirePublished(t, answer, p.consume(t, p.queueOf(s)))
			}
		}
	})
}

// awaitQueue waits until our server has created its queue.
func (p *rabbitPlayer) awaitQueue(t *testing.T) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		ch := rabbitChannel(t)
		_, err := ch.QueueDeclarePassive(p.queue, false, false, false, false, nil)
		return err == nil
	})
}

// The server of each RabbitMQ session serves our client.
func TestRabbitMQServerInPage(t *testing.T) {
	t.Parallel()
	eachSession(t, "rabbitmq", func(t *testing.T, session string) {
		steps := readSteps(t, session)
		if !hasServer(steps) {
			return
		}
		p := newRabbitPlayer(t)
		_, err := p.ch.QueueDeclare(p.queue, false, false, false, false, nil)
		require.NoError(t, err)
		conn := servicetest.Must(amqpconn.Dial(brokertest.SharedRabbitMQ(t).URL(), p.queue, &amqpconn.DialOptions{Logger: servicetest.Quiet}))
		client := newClient(t, conn)
		servicetest.Eventually(t, func() bool { return conn.Err() == nil }) // a call waits for that for 1.5 s only
		var ended <-chan outcome
		var request step
		var response string
		for _, s := range steps {
			switch {
			case s.client && s.name() == "PUBLISH":
				request, ended = s, start(t, client, s.body)
			case s.client: // our client has done so
			case s.name() == "CONSUME":
				p.requirePublished(t, request, p.consume(t, p.queueOf(s)))
			default:
				response = p.fill(s.body)
				p.publish(t, s)
			}
		}
		requireOutcome(t, ended, response)
	})
}
