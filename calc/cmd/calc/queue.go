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

// kind returns how serve creates a missing queue. By default the queue is plain, as the
// scripts in other languages declare it: they refuse any other.
func (f flags) kind() amqpconn.Queue {
	return amqpconn.Queue{Plain: !f.durable && !f.quorum, Quorum: f.quorum}
}

// chooseKind returns the kind of queue to serve: kind or, if RabbitMQ refuses to create a
// plain queue, as its later versions do, a durable one. It then writes a line to stderr.
func chooseKind(kind amqpconn.Queue, queue string, declare func(amqpconn.Queue) error, stderr io.Writer) amqpconn.Queue {
	if !kind.Plain {
		return kind
	}
	refusal, ok := errors.AsType[*amqp.Error](declare(kind))
	if !ok || !refusal.Server || refusal.Code == amqp.AccessRefused {
		return kind // it is there now, or Listen says why it is not
	}
	durable := amqpconn.Queue{}
	if declare(durable) != nil {
		return kind
	}
	fmt.Fprintf(stderr, "calc: RabbitMQ refuses to create a plain queue (%s): created %q durable; scripts that declare it plain fail\n", refusal.Reason, queue)
	return durable
}

// declareQueue creates a queue if it is missing. It opens a connection of its own, since a
// refusal may close the connection.
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
	if ch, err = conn.Channel(); err != nil { // the refusal has closed the other
		return err
	}
	_, err = ch.QueueDeclare(queue, !kind.Plain, false, false, false, nil)
	return err
}
