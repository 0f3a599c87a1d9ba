package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/rpc"
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
	name   string // Redis or RabbitMQ; "" for what has no broker
	scheme string // of its URL
	where  string // its URL, without what could be a secret
	served string // where requests come in, if not to a queue; set by listen
	dial   func() (jsonrpc2.ClientConn, error)
	listen func(ctx context.Context, stderr io.Writer) (serving, error)
	ping   func(context.Context) error
	close  func() error

	// refusal says what the broker refuses, if that is the error of ping.
	refusal func(error) string
}

// A serving serves until ctx is done, and then until the running calls are answered.
type serving func(ctx context.Context, server *rpc.Server, opts *jsonrpc2.ServerOptions) error

// over returns what serves a Conn.
func over(conn jsonrpc2.ServerConn, err error) (serving, error) {
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, server *rpc.Server, opts *jsonrpc2.ServerOptions) error {
		return jsonrpc2.Serve(ctx, server, conn, opts)
	}, nil
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
	case "tcp", "unix":
		return f.newStream(u)
	default:
		return f.newHTTP(u)
	}
}

// fit returns an error if a flag is not for the broker of a scheme.
func (f flags) fit(scheme string) error {
	name, _ := kind(scheme)
	isStream := scheme == "tcp" || scheme == "unix"
	hasBroker := name == "Redis" || name == "RabbitMQ"
	switch {
	case name != "RabbitMQ" && (f.durable || f.quorum):
		return misused("-durable and -quorum are for RabbitMQ: write -broker amqp://localhost:5672, for example")
	case !hasBroker && f.atLeastOnce:
		return misused("-at-least-once needs a broker that keeps the calls, %s has none: write -broker %s, for example", name, exampleURL)
	case !hasBroker && f.prefetch != 0:
		return misused("-prefetch is for brokers, with %s no calls wait: write -broker %s, for example", name, exampleURL)
	case isStream && f.queue != defaultQueue:
		return misused("-queue is for brokers, with %s the address stands for it: write -broker %s, for example", name, exampleURL)
	case isStream && f.reply == "id":
		return misused("-reply id is for brokers, with %s answers come back on the connection: write -broker %s, for example", name, exampleURL)
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
		listen: func(context.Context, io.Writer) (serving, error) {
			return over(redisconn.Listen(rdb, f.queue, &redisconn.ListenOptions{
				Guarantee: f.guarantee(), Lease: f.lease, Prefetch: f.prefetch,
			}))
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
		listen: func(ctx context.Context, stderr io.Writer) (serving, error) {
			declare := func(kind amqpconn.Queue) error { return declareQueue(ctx, f.broker, f.queue, kind) }
			kind := chooseKind(f.kind(), f.queue, declare, stderr)
			return over(amqpconn.Listen(f.broker, f.queue, &amqpconn.ListenOptions{Queue: kind, Guarantee: f.guarantee(), Prefetch: f.prefetch}))
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
