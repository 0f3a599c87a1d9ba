package amqpconn_test

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/conntest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/internal/waytest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		dial   amqpconn.DialOptions
		listen amqpconn.ListenOptions
		args   amqp.Table
	}{
		{name: "default"},
		{name: "reply per call", dial: amqpconn.DialOptions{ReplyPerCall: true}},
		{name: "quorum", dial: amqpconn.DialOptions{Persistent: true}, args: amqp.Table{"x-queue-type": "quorum"}},
		{name: "at most once", listen: amqpconn.ListenOptions{Guarantee: jsonrpc2.AtMostOnce}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			test.dial.Logger, test.listen.Logger = servicetest.Quiet, servicetest.Quiet
			conntest.Run(t, func(t *testing.T) conntest.Transport {
				s := newSite(t)
				// RabbitMQ may refuse what comes while two declare the same
				// quorum queue.
				s.declare(t, true, false, test.args)
				return conntest.Transport{
					Dial: func(testing.TB) jsonrpc2.ClientConn {
						conn, err := amqpconn.Dial(s.url, s.queue, &test.dial)
						require.NoError(t, err)
						requireConnected(t, conn)
						return conn
					},
					Listen: func(testing.TB) jsonrpc2.ServerConn {
						conn, err := amqpconn.Listen(s.url, s.queue, &test.listen)
						require.NoError(t, err)
						return conn
					},
					Waits:     true,
					GivesBack: true,
					Deadlines: true,
				}
			})
		})
	}
}

// The way of a request that the package's doc shows is the one in its files.
func TestWayOfARequest(t *testing.T) { waytest.Require(t) }
