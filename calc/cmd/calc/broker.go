package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A broker is what -broker names.
type broker struct {
	where  string // its URL, without the password
	served string // where requests come in, if not to a queue; set by listen
	dial   func() (jsonrpc2.Conn, error)
	listen func() (jsonrpc2.Conn, error)
	ping   func(context.Context) error
	close  func() error
}

// open makes a broker of the URL. Errors say nothing of it that could be a
// password: neither net/url's nor the client libraries' are shown.
func (f flags) open() (*broker, error) {
	u, err := url.Parse(f.broker)
	if err != nil {
		return nil, fmt.Errorf("%w: the broker's URL can't be parsed", errUsage)
	}
	switch u.Scheme {
	case "redis", "rediss":
		return f.openRedis(u)
	case "amqp", "amqps":
		return f.openRabbitMQ(u)
	case "http", "https":
		return f.openHTTP(u)
	default:
		return nil, fmt.Errorf("%w: there is no broker for %q: there are redis://, rediss://, amqp://, amqps://, http:// and https://", errUsage, u.Scheme)
	}
}

func (f flags) openRedis(u *url.URL) (*broker, error) {
	opts, err := redis.ParseURL(f.broker)
	if err != nil {
		return nil, fmt.Errorf("%w: bad Redis URL: want %s://[user:password@]host:port[/db]", errUsage, u.Scheme)
	}
	rdb := redis.NewClient(opts)
	return &broker{
		where: u.Redacted(),
		dial: func() (jsonrpc2.Conn, error) {
			return redisconn.Dial(rdb, f.queue, &redisconn.DialOptions{ReplyPerCall: f.reply == "id"}), nil
		},
		listen: func() (jsonrpc2.Conn, error) {
			return redisconn.Listen(rdb, f.queue, nil), nil
		},
		ping:  func(ctx context.Context) error { return rdb.Ping(ctx).Err() },
		close: rdb.Close,
	}, nil
}

func (f flags) openRabbitMQ(u *url.URL) (*broker, error) {
	if _, err := amqp.ParseURI(f.broker); err != nil {
		return nil, fmt.Errorf("%w: bad RabbitMQ URL: want %s://[user:password@]host[:port][/vhost]", errUsage, u.Scheme)
	}
	return &broker{
		where: u.Redacted(),
		dial: func() (jsonrpc2.Conn, error) {
			return amqpconn.Dial(f.broker, f.queue, &amqpconn.DialOptions{ReplyPerCall: f.reply == "id"})
		},
		listen: func() (jsonrpc2.Conn, error) {
			return amqpconn.Listen(f.broker, f.queue, nil)
		},
		ping:  func(ctx context.Context) error { return pingRabbitMQ(ctx, f.broker) },
		close: func() error { return nil }, // the Conns own their connections
	}, nil
}

// pingTimeout is how long a broker may take to answer.
const pingTimeout = 5 * time.Second

// pingRabbitMQ reports whether a connection can be made.
func pingRabbitMQ(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := amqp.DialConfig(url, amqp.Config{
		Dial: func(network, addr string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, addr)
			if err == nil {
				context.AfterFunc(ctx, func() { _ = conn.Close() })
			}
			return conn, err
		},
	})
	if err != nil {
		return err
	}
	return conn.Close()
}

// place is where a server's requests come in.
func (b *broker) place(queue string) string {
	if b.served != "" {
		return "at " + b.served
	}
	return fmt.Sprintf("on queue %q of %s", queue, b.where)
}

func (f flags) dial() (conn jsonrpc2.Conn, closeBroker func() error, err error) {
	b, err := f.open()
	if err != nil {
		return nil, nil, err
	}
	conn, err = b.dial()
	return conn, b.close, err
}

// pingPause is between two tries to reach the broker.
const pingPause = 200 * time.Millisecond

// await waits until the broker can be reached.
func (b *broker) await(ctx context.Context) error {
	for {
		err := b.ping(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pingPause):
		}
	}
}
