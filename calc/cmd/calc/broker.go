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

// A broker is what the URL of -broker leads to: Redis, RabbitMQ, or a web server or socket,
// which has no broker. Without a broker, name, scheme and refusal are not set, and ping
// returns nil.
type broker struct {
	name   string // Redis or RabbitMQ
	scheme string // of the URL
	where  string // the URL, without what could be a secret
	served string // the URL of a web server or socket that serves; set by listen
	dial   func() (jsonrpc2.ClientConn, error)
	listen func(ctx context.Context, stderr io.Writer) (*serving, error)
	ping   func(context.Context) error
	close  func() error // called after the Conns are closed

	// refusal takes the error of a ping. It returns what the broker refuses, or "" if the
	// error is no refusal of this broker.
	refusal func(error) string
}

// A serving is what a server listens to.
type serving struct {
	// run serves until ctx is done, and then until the running calls are answered.
	run func(ctx context.Context, server *rpc.Server, opts *jsonrpc2.ServerOptions) error

	// impairment returns why calls are not served, nil if they are.
	impairment func() error
}

// over returns a serving over conn, or err. It takes what a transport's Listen returns.
func over(conn jsonrpc2.ServerConn, err error) (*serving, error) {
	if err != nil {
		return nil, err
	}
	run := func(ctx context.Context, server *rpc.Server, opts *jsonrpc2.ServerOptions) error {
		return jsonrpc2.Serve(ctx, server, conn, opts)
	}
	return &serving{run, conn.Err}, nil
}

// newBroker returns the broker at the URL of -broker. It does not connect. Its errors never
// show a password: they leave out those of net/url and of the client libraries, which may.
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

// fit returns an error if a flag does not fit the scheme of the broker's URL.
func (f flags) fit(scheme string) error {
	name, _ := carrier(scheme)
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

// newRedis returns the Redis at f.broker, of which u is the parsed form. All Conns share one
// redis.Client. ping makes a client of its own, see pingRedis.
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
		listen: func(context.Context, io.Writer) (*serving, error) {
			return over(redisconn.Listen(rdb, f.queue, &redisconn.ListenOptions{
				Guarantee: f.guarantee(), Lease: f.lease, Prefetch: f.prefetch,
			}))
		},
		ping:  func(ctx context.Context) error { return pingRedis(ctx, *opts) },
		close: rdb.Close,

		refusal: redisRefusal(u),
	}, nil
}

// newRabbitMQ returns the RabbitMQ at f.broker, of which u is the parsed form. Its listen
// declares the queue first, see chooseKind.
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
		listen: func(ctx context.Context, stderr io.Writer) (*serving, error) {
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

// place returns where a server's requests come in, for the line that says that it is ready.
func (b *broker) place(queue string) string {
	if b.served != "" {
		return "at " + b.served
	}
	return fmt.Sprintf("on queue %q of %s", queue, b.where)
}

// dial returns a Conn that calls over the broker of -broker. The caller closes the Conn, and
// then calls closeBroker.
func (f flags) dial() (conn jsonrpc2.ClientConn, closeBroker func() error, err error) {
	b, err := f.newBroker()
	if err != nil {
		return nil, nil, err
	}
	conn, err = b.dial()
	return conn, b.close, err
}
