package foreigntest

import (
	"net"
	"net/http"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A site is a place where one server serves.
type site interface {
	env() []string // for the programs
	listen(t *testing.T) jsonrpc2.ServerConn
	dial(replyPerCall bool) jsonrpc2.ClientConn
	empty(t *testing.T) // requires that nothing is left, but an empty queue

	// odd requires what a server makes of odd requests, and says of them.
	odd(t *testing.T, stderr *servicetest.LogBook)
}

// sites are the transports by their names in the files of the examples.
var sites = map[string]func(*testing.T) site{"redis": newRedisSite, "amqp": newAMQPSite, "http": newHTTPSite}

type redisSite struct {
	url string
	rdb *redis.Client
}

const queue = "sums"

func newRedisSite(t *testing.T) site {
	broker := brokertest.StartRedis(t)
	return &redisSite{broker.URL(), broker.Client(t)}
}

func (s *redisSite) env() []string { return []string{"BROKER_URL=" + s.url, "QUEUE=" + queue} }

func (s *redisSite) listen(t *testing.T) jsonrpc2.ServerConn {
	return servicetest.Must(redisconn.Listen(s.rdb, queue, nil))
}

func (s *redisSite) dial(replyPerCall bool) jsonrpc2.ClientConn {
	return servicetest.Must(redisconn.Dial(s.rdb, queue, &redisconn.DialOptions{ReplyPerCall: replyPerCall}))
}

func (s *redisSite) empty(t *testing.T) {
	require.Empty(t, s.rdb.Keys(t.Context(), "*").Val())
}

type amqpSite struct {
	broker *brokertest.RabbitMQ
	queue  string
}

func newAMQPSite(t *testing.T) site {
	return &amqpSite{brokertest.SharedRabbitMQ(t), t.Name()}
}

func (s *amqpSite) env() []string {
	return []string{"BROKER_URL=" + s.broker.URL(), "QUEUE=" + s.queue}
}

func (s *amqpSite) listen(t *testing.T) jsonrpc2.ServerConn {
	return servicetest.Must(amqpconn.Listen(s.broker.URL(), s.queue, nil))
}

func (s *amqpSite) dial(replyPerCall bool) jsonrpc2.ClientConn {
	return servicetest.Must(amqpconn.Dial(s.broker.URL(), s.queue, &amqpconn.DialOptions{ReplyPerCall: replyPerCall}))
}

// empty deletes the queue, which must be empty. That no other is left is seen when all
// tests have ended.
func (s *amqpSite) empty(t *testing.T) {
	_, err := s.channel(t).QueueDelete(s.queue, false, true, false)
	require.NoError(t, err)
}

// channel returns a channel that the test's cleanup closes.
func (s *amqpSite) channel(t *testing.T) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(s.broker.URL())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	require.NoError(t, err)
	return channel
}

type httpSite struct{ address string }

func newHTTPSite(t *testing.T) site {
	return &httpSite{net.JoinHostPort("127.0.0.1", brokertest.FreePort(t))}
}

func (s *httpSite) url() string   { return "http://" + s.address + "/calc" }
func (s *httpSite) env() []string { return []string{"BROKER_URL=" + s.url()} }

func (s *httpSite) listen(t *testing.T) jsonrpc2.ServerConn {
	handler := servicetest.Must(httpconn.Listen(nil))
	listener, err := net.Listen("tcp", s.address)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/calc", handler)
	web := &http.Server{Handler: mux}
	done := make(chan error)
	go func() { done <- web.Serve(listener) }()
	t.Cleanup(func() {
		_ = web.Close()
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	})
	return handler
}

func (s *httpSite) dial(bool) jsonrpc2.ClientConn {
	return servicetest.Must(httpconn.Dial(s.url(), nil))
}

// empty requires nothing: nobody keeps anything.
func (s *httpSite) empty(*testing.T) {}
