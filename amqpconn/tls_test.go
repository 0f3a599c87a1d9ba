package amqpconn_test

import (
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	addr, _, trusting := brokertest.StartTLS(t, brokertest.SharedRabbitMQ(t).Addr)
	secure := site{strings.Replace(s.at(addr).url, "amqp:", "amqps:", 1), s.queue}
	config := amqp.Config{TLSClientConfig: trusting}
	start(t, secure, &amqpconn.ListenOptions{Config: config, Logger: servicetest.Quiet}, jsonrpc2.ServerOptions{Logger: servicetest.Quiet})
	s.requireConsumers(t, 1)
	unverified := site{strings.Replace(secure.url, "127.0.0.1", "localhost", 1), s.queue} // the certificate's name is the other
	c := dial(t, unverified, &amqpconn.DialOptions{URLs: []string{secure.url}, Config: config, Logger: servicetest.Quiet}, 0)
	servicetest.RequireCalls(t, c.Client, 10)
	c.end(t)
	require.Empty(t, trusting.ServerName, "the caller's configuration is not written to")

	var log servicetest.LogBook
	c = dialing(t, secure, &amqpconn.DialOptions{Logger: log.Logger()}, 0)
	_, err := c.add(1, 5.1)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
	servicetest.Eventually(t, func() bool { return log.Count("level=ERROR", "certificate") == 1 }, &log)
}
