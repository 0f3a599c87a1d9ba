package main

import (
	"context"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

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
