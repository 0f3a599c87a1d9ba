package main

import (
	"errors"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/promrpc"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A broker opens both ends of its queues, with the same guarantee. Beside each end it returns
// the metrics of that end. Nothing else in the program knows which broker it is.
type broker struct {
	name   string // as OpenTelemetry knows it
	dial   func(queue string, guarantee jsonrpc2.Guarantee) (jsonrpc2.ClientConn, prometheus.Collector, error)
	listen func(queue string, guarantee jsonrpc2.Guarantee) (jsonrpc2.ServerConn, prometheus.Collector, error)
	close  func() error
}

func newBroker(url string) (*broker, error) {
	if strings.HasPrefix(url, "amqp") {
		return newRabbitMQ(url), nil
	}
	opts, err := redis.ParseURL(url)
	if err != nil { // which may show a password
		return nil, errors.New("BROKER_URL, REDIS_URL or CLOUDAMQP_URL must be redis://… or amqp://…")
	}
	return newRedis(redis.NewClient(opts)), nil
}

func newRedis(rdb *redis.Client) *broker {
	return &broker{
		name: "redis",
		dial: func(queue string, _ jsonrpc2.Guarantee) (jsonrpc2.ClientConn, prometheus.Collector, error) {
			conn, err := redisconn.Dial(rdb, queue, nil)
			return conn, promrpc.NewClientConnCollector("redis", queue, conn.Stats), err
		},
		listen: func(queue string, guarantee jsonrpc2.Guarantee) (jsonrpc2.ServerConn, prometheus.Collector, error) {
			conn, err := redisconn.Listen(rdb, queue, &redisconn.ListenOptions{Guarantee: guarantee})
			return conn, promrpc.NewServerConnCollector("redis", queue, conn.Stats), err
		},
		close: rdb.Close,
	}
}

func newRabbitMQ(url string) *broker {
	return &broker{
		name: "rabbitmq",
		dial: func(queue string, guarantee jsonrpc2.Guarantee) (jsonrpc2.ClientConn, prometheus.Collector, error) {
			// Only what is persistent outlives a restart of the broker.
			persistent := guarantee == jsonrpc2.AtLeastOnce
			conn, err := amqpconn.Dial(url, queue, &amqpconn.DialOptions{Persistent: persistent})
			return conn, promrpc.NewClientConnCollector("amqp", queue, conn.Stats), err
		},
		listen: func(queue string, guarantee jsonrpc2.Guarantee) (jsonrpc2.ServerConn, prometheus.Collector, error) {
			conn, err := amqpconn.Listen(url, queue, &amqpconn.ListenOptions{Guarantee: guarantee})
			return conn, promrpc.NewServerConnCollector("amqp", queue, conn.Stats, "replies"), err
		},
		close: func() error { return nil }, // each Conn has connections of its own
	}
}
