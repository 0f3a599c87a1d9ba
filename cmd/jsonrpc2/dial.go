package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// quiet is the logger of Conns: what goes wrong is in the error of the call.
var quiet = slog.New(slog.DiscardHandler)

// dial returns the client's end, and what closes all else afterwards.
func (t *target) dial() (conn jsonrpc2.ClientConn, done func(), err error) {
	u, err := t.url()
	if err != nil {
		return nil, nil, err
	}
	secure, err := t.tlsConfig(u)
	if err != nil {
		return nil, nil, err
	}
	done = func() {}
	switch {
	case isRedis(u):
		rdb := t.redis(u, secure)
		done = func() { _ = rdb.Close() }
		conn, err = redisconn.Dial(rdb, t.queue, &redisconn.DialOptions{ReplyPerCall: t.reply == "id", Logger: quiet})
	case isRabbitMQ(u):
		conn, err = amqpconn.Dial(t.broker, t.queue, &amqpconn.DialOptions{
			ReplyPerCall: t.reply == "id", Logger: quiet, Config: amqp.Config{TLSClientConfig: secure},
		})
	case isHTTP(u):
		conn, done, err = t.dialHTTP(secure)
	default:
		conn = dialStream(u, secure)
	}
	if err != nil {
		done()
		return nil, nil, usageError{err} // they are about the URL, or the queue's name
	}
	return conn, done, nil
}

// redis returns a client for a URL that has been checked.
func (t *target) redis(u *url.URL, secure *tls.Config) *redis.Client {
	opts, err := redis.ParseURL(t.broker)
	if err != nil {
		panic("a URL that was not checked")
	}
	if secure != nil {
		secure.ServerName = cmp.Or(secure.ServerName, u.Hostname())
		opts.TLSConfig = secure
	}
	return redis.NewClient(opts)
}

func (t *target) dialHTTP(secure *tls.Config) (conn jsonrpc2.ClientConn, done func(), err error) {
	done = func() {}
	header := make(http.Header)
	for _, line := range t.headers {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, done, misused("--header %q has no colon: write 'Name: value'", line)
		}
		header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	opts := &httpconn.DialOptions{Header: func(_ context.Context, h http.Header) { maps.Copy(h, header) }}
	if secure != nil {
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.TLSClientConfig = secure
		transport.MaxIdleConnsPerHost = maxCallers
		opts.Client = &http.Client{Transport: transport}
		done = transport.CloseIdleConnections // as httpconn does with a client of its own
	}
	conn, err = httpconn.Dial(t.broker, opts)
	return conn, done, err
}

func dialStream(u *url.URL, secure *tls.Config) jsonrpc2.ClientConn {
	network, addr := "tcp", u.Host
	if u.Scheme == "unix" {
		network, addr = "unix", u.Path
	}
	return jsonrpc2.DialStream(func(ctx context.Context) (io.ReadWriteCloser, error) {
		if u.Scheme == "tls" {
			return (&tls.Dialer{Config: secure}).DialContext(ctx, network, addr)
		}
		return (&net.Dialer{}).DialContext(ctx, network, addr)
	}, &jsonrpc2.DialStreamOptions{Logger: quiet})
}

// A broker is one that has queues.
type broker struct {
	look    func(context.Context) (queueLook, error)
	servers func(context.Context) ([]server, error)
	dead    jsonrpc2.DeadList
	close   func()
}

// broker returns the broker of the URL. It does not connect.
func (a *app) broker() (*broker, error) {
	t := &a.target
	u, err := t.brokerURL()
	if err != nil {
		return nil, err
	}
	secure, err := t.tlsConfig(u)
	if err != nil {
		return nil, err
	}
	if isRedis(u) {
		return redisBroker(t.redis(u, secure), t.queue), nil
	}
	return rabbitBroker(t.broker, t.queue, amqp.Config{TLSClientConfig: secure})
}

func redisBroker(rdb *redis.Client, queue string) *broker {
	return &broker{
		look: func(ctx context.Context) (queueLook, error) {
			s, err := redisconn.Look(ctx, rdb, queue)
			l := queueLook{Queue: queue, Waiting: &s.Waiting, Running: &s.Held, Servers: &s.Servers, Dead: &s.Dead}
			if !s.Deadline.IsZero() {
				l.Deadline = &s.Deadline
			}
			return l, err
		},
		servers: func(ctx context.Context) ([]server, error) {
			return redisconn.Servers(ctx, rdb, queue)
		},
		dead:  redisconn.NewDeadList(rdb, queue),
		close: func() { _ = rdb.Close() },
	}
}

func rabbitBroker(url, queue string, config amqp.Config) (*broker, error) {
	dead, err := amqpconn.NewDeadList(url, queue, &amqpconn.DeadListOptions{Config: config})
	if err != nil {
		return nil, usageError{err} // it is about the URL, or the queue's name
	}
	return &broker{
		look: func(ctx context.Context) (queueLook, error) {
			s, err := amqpconn.Look(ctx, url, queue, &amqpconn.LookOptions{Config: config})
			l := queueLook{Queue: queue, Waiting: &s.Waiting, Servers: &s.Consumers}
			if s.KeepsDead {
				l.Dead = &s.Dead
			}
			return l, err
		},
		dead:  dead,
		close: func() {},
	}, nil
}
