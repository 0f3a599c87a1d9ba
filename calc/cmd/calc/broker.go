package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A broker is what -broker names.
type broker struct {
	name   string // Redis, RabbitMQ or HTTP
	scheme string // of its URL
	where  string // its URL, without what could be a secret
	served string // where requests come in, if not to a queue; set by listen
	dial   func() (jsonrpc2.ClientConn, error)
	listen func(ctx context.Context, stderr io.Writer) (jsonrpc2.ServerConn, error)
	ping   func(context.Context) error
	close  func() error

	// refusal says what the broker refuses, if that is the error of ping.
	refusal func(error) string
}

// newBroker returns the broker at the URL of -broker. Its errors show nothing of the URL
// that could be a password, and so no error of net/url or of a client library.
func (f flags) newBroker() (*broker, error) {
	u, err := f.brokerURL()
	if err != nil {
		return nil, err
	}
	if err := f.fit(u.Scheme); err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "redis", "rediss":
		return f.newRedis(u)
	case "amqp", "amqps":
		return f.newRabbitMQ(u)
	default:
		return f.newHTTP(u)
	}
}

// fit returns an error if a flag is not for the broker of a scheme.
func (f flags) fit(scheme string) error {
	name, _ := kind(scheme)
	switch {
	case name != "RabbitMQ" && (f.durable || f.quorum):
		return misused("-durable and -quorum are for RabbitMQ: write -broker amqp://localhost:5672, for example")
	case name == "HTTP" && f.atLeastOnce:
		return misused("-at-least-once needs a broker that keeps the calls, HTTP has none: write -broker %s, for example", exampleURL)
	case name == "HTTP" && f.prefetch != 0:
		return misused("-prefetch is for brokers, with HTTP no calls wait: write -broker %s, for example", exampleURL)
	case f.lease != 0 && (name != "Redis" || !f.atLeastOnce):
		return misused("-lease is for Redis and -at-least-once: write -broker %s -at-least-once, for example", exampleURL)
	}
	return nil
}

func (f flags) newRedis(u *url.URL) (*broker, error) {
	opts, err := redis.ParseURL(f.broker)
	if err != nil {
		return nil, f.badURL(u)
	}
	rdb := redis.NewClient(opts)
	return &broker{
		name: "Redis", scheme: u.Scheme, where: shown(u, opts.Addr),
		dial: func() (jsonrpc2.ClientConn, error) {
			return redisconn.Dial(rdb, f.queue, &redisconn.DialOptions{ReplyPerCall: f.reply == "id"})
		},
		listen: func(context.Context, io.Writer) (jsonrpc2.ServerConn, error) {
			return redisconn.Listen(rdb, f.queue, &redisconn.ListenOptions{
				Guarantee: f.guarantee(), Lease: f.lease, Prefetch: f.prefetch,
			})
		},
		ping:  func(ctx context.Context) error { return pingRedis(ctx, *opts) },
		close: rdb.Close,

		refusal: redisRefusal(u),
	}, nil
}

func (f flags) newRabbitMQ(u *url.URL) (*broker, error) {
	uri, err := amqp.ParseURI(f.broker)
	if err != nil {
		return nil, f.badURL(u)
	}
	return &broker{
		name: "RabbitMQ", scheme: u.Scheme, where: shown(u, net.JoinHostPort(uri.Host, strconv.Itoa(uri.Port))),
		dial: func() (jsonrpc2.ClientConn, error) {
			return amqpconn.Dial(f.broker, f.queue, &amqpconn.DialOptions{ReplyPerCall: f.reply == "id"})
		},
		listen: func(ctx context.Context, stderr io.Writer) (jsonrpc2.ServerConn, error) {
			declare := func(kind amqpconn.Queue) error { return declareQueue(ctx, f.broker, f.queue, kind) }
			kind := chooseKind(f.kind(), f.queue, declare, stderr)
			return amqpconn.Listen(f.broker, f.queue, &amqpconn.ListenOptions{Queue: kind, Guarantee: f.guarantee(), Prefetch: f.prefetch})
		},
		ping:  func(ctx context.Context) error { return pingRabbitMQ(ctx, f.broker) },
		close: func() error { return nil }, // the Conns own their connections

		refusal: rabbitMQRefusal(u),
	}, nil
}

// guarantee returns the Guarantee of the server.
func (f flags) guarantee() jsonrpc2.Guarantee {
	if f.atLeastOnce {
		return jsonrpc2.AtLeastOnce
	}
	return jsonrpc2.BrokerDefault
}

// place says where a server's requests come in.
func (b *broker) place(queue string) string {
	if b.served != "" {
		return "at " + b.served
	}
	return fmt.Sprintf("on queue %q of %s", queue, b.where)
}

func (f flags) dial() (conn jsonrpc2.ClientConn, closeBroker func() error, err error) {
	b, err := f.newBroker()
	if err != nil {
		return nil, nil, err
	}
	conn, err = b.dial()
	return conn, b.close, err
}
