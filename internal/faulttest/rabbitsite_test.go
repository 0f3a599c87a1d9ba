package faulttest

import (
	"crypto/rand"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A rabbitSite is a site on RabbitMQ: one queue.
type rabbitSite struct {
	queue     string
	url       string
	serverURL string                      // for servers; url if empty
	admin     func() *brokertest.RabbitMQ // a node that runs
	dialing   amqpconn.DialOptions
	listening amqpconn.ListenOptions
}

// newRabbitSite returns a site on a single RabbitMQ, with a queue that nobody
// else uses. The test's cleanup deletes it.
func newRabbitSite(t *testing.T, broker *brokertest.RabbitMQ) *rabbitSite {
	s := &rabbitSite{
		queue: "ledger " + rand.Text(),
		url:   broker.URL(),
		admin: func() *brokertest.RabbitMQ { return broker },
	}
	t.Cleanup(func() { s.delete(t) })
	return s
}

// urlOf returns the URL of a proxy before a RabbitMQ.
func urlOf(addr string) string { return "amqp://guest:guest@" + addr + "/" }

func (s *rabbitSite) dial(t *testing.T) jsonrpc2.ClientConn {
	s.dialing.Logger = servicetest.Quiet
	conn, err := amqpconn.Dial(s.url, s.queue, &s.dialing)
	require.NoError(t, err)
	return conn
}

func (s *rabbitSite) listen(t *testing.T) jsonrpc2.ServerConn {
	url := s.serverURL
	if url == "" {
		url = s.url
	}
	s.listening.Logger = servicetest.Quiet
	conn, err := amqpconn.Listen(url, s.queue, &s.listening)
	require.NoError(t, err)
	return conn
}

// onChannel runs f on a channel of its own.
func (s *rabbitSite) onChannel(f func(*amqp.Channel) error) error {
	conn, err := amqp.Dial(s.admin().URL())
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	return f(ch)
}

// inspect returns the numbers of messages and consumers of the queue.
func (s *rabbitSite) inspect() (q amqp.Queue, err error) {
	err = s.onChannel(func(ch *amqp.Channel) error {
		q, err = ch.QueueDeclarePassive(s.queue, false, false, false, false, nil)
		return err
	})
	return q, err
}

func (s *rabbitSite) waiting() (int, error) {
	q, err := s.inspect()
	return q.Messages, err
}

func (s *rabbitSite) delete(t *testing.T) {
	t.Helper()
	require.NoError(t, s.onChannel(func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(s.queue, false, false, false)
		return err
	}))
}

// requireEmpty requires that there is no message in the queue, acknowledged or
// not, and no other queue than those of sites.
func (s *rabbitSite) requireEmpty(t *testing.T) {
	t.Helper()
	var queues string
	require.Eventually(t, func() bool {
		queues = s.admin().Queues("name", "messages")
		for line := range strings.Lines(queues) {
			name, messages, _ := strings.Cut(strings.TrimSpace(line), "\t")
			other := !strings.HasPrefix(name, "ledger ")
			if other || name == s.queue && messages != "0" {
				return false
			}
		}
		return true
	}, servicetest.Soon, servicetest.Tick, &queues)
}

func (s *rabbitSite) noteVersion(t *testing.T) {
	t.Helper()
	conn, err := amqp.Dial(s.admin().URL())
	require.NoError(t, err)
	defer conn.Close()
	version, _ := conn.Properties["version"].(string)
	figures.version("RabbitMQ", version)
}

func (s *rabbitSite) config() processConfig {
	return processConfig{RabbitURL: s.url, Queue: s.queue, RabbitQueue: s.listening.Queue, Guarantee: s.listening.Guarantee}
}
