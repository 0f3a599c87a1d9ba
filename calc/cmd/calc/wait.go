package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
)

const (
	pingTimeout = 5 * time.Second        // for the broker to answer
	pingPause   = 200 * time.Millisecond // between two pings
)

// await pings the broker until it answers or ctx is done, and returns ctx.Err(). It writes
// one line that says why the broker can't be reached, and another whenever the cause changes.
func (b *broker) await(ctx context.Context, stderr io.Writer) error {
	var written string
	for {
		err := b.reach(ctx)
		if err == nil || ctx.Err() != nil {
			return ctx.Err()
		}
		if cause := b.causeOf(err); cause != written {
			fmt.Fprintf(stderr, "calc: waiting for %s: %s\n", b.where, cause)
			written = cause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pingPause):
		}
	}
}

// reach pings the broker once. It returns context.DeadlineExceeded if no answer comes within
// pingTimeout.
func (b *broker) reach(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	err := b.ping(ctx)
	if err != nil && ctx.Err() != nil {
		return ctx.Err() // err only says that dialPing closed the connection
	}
	return err
}

// dialPing dials a connection that is closed when ctx is done. An interrupt then does not wait
// for a silent broker.
func dialPing(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err == nil {
		context.AfterFunc(ctx, func() { _ = conn.Close() })
	}
	return conn, err
}

// pingRedis pings once: retries of go-redis would hide the cause.
func pingRedis(ctx context.Context, opts redis.Options) error {
	opts.MaxRetries, opts.DialerRetries = -1, 1
	opts.ReadTimeout, opts.WriteTimeout = -1, -1 // none: dialPing ends a read or write with ctx
	opts.Dialer = func(_ context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialPing(ctx, network, addr)
		if err != nil || opts.TLSConfig == nil {
			return conn, err
		}
		secure := tls.Client(conn, opts.TLSConfig)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		return secure, nil
	}
	client := redis.NewClient(&opts)
	defer client.Close()
	return client.Ping(ctx).Err()
}

// pingRabbitMQ makes a connection and closes it.
func pingRabbitMQ(ctx context.Context, url string) error {
	conn, err := amqp.DialConfig(url, amqp.Config{
		Dial: func(network, addr string) (net.Conn, error) { return dialPing(ctx, network, addr) },
	})
	if err != nil {
		return err
	}
	return conn.Close()
}
