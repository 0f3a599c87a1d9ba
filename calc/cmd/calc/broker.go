package main

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A broker is what -broker names.
type broker struct {
	where  string // its URL, without the password
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
	default:
		return nil, fmt.Errorf("%w: there is no broker for %q: there are redis:// and rediss://", errUsage, u.Scheme)
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
