package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2/amqpconn"
)

// kind returns the kind of queue that serve creates if it is missing. By default the queue is
// plain, as scripts in other languages declare it: their declaration fails for another kind.
func (f flags) kind() amqpconn.Queue {
	return amqpconn.Queue{Plain: !f.durable && !f.quorum, Quorum: f.quorum}
}

// chooseKind returns the kind of queue to serve: kind, or a durable queue if RabbitMQ refuses
// to create a plain one, as its later versions do. It then writes a line to stderr.
func chooseKind(kind amqpconn.Queue, queue string, declare func(amqpconn.Queue) error, stderr io.Writer) amqpconn.Queue {
	if !kind.Plain {
		return kind
	}
	refusal, ok := errors.AsType[*amqp.Error](declare(kind))
	if !ok || !refusal.Server || refusal.Code == amqp.AccessRefused {
		return kind // the queue exists now, or Listen will say why not
	}
	durable := amqpconn.Queue{}
	if declare(durable) != nil {
		return kind
	}
	fmt.Fprintf(stderr, "calc: RabbitMQ refuses to create a plain queue (%s): created %q durable; scripts that declare it plain fail\n", refusal.Reason, queue)
	return durable
}

// declareQueue creates a plain or a durable queue if it is missing. A queue that is there
// stays as it is. declareQueue opens a connection of its own, since a refusal may close it.
func declareQueue(ctx context.Context, url, queue string, kind amqpconn.Queue) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := amqp.DialConfig(url, amqp.Config{
		Dial: func(network, addr string) (net.Conn, error) { return dialPing(ctx, network, addr) },
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	_, err = ch.QueueDeclarePassive(queue, false, false, false, false, nil)
	if refusal, ok := errors.AsType[*amqp.Error](err); !ok || refusal.Code != amqp.NotFound {
		return err
	}
	if ch, err = conn.Channel(); err != nil { // NotFound has closed the first channel
		return err
	}
	_, err = ch.QueueDeclare(queue, !kind.Plain, false, false, false, nil)
	return err
}
