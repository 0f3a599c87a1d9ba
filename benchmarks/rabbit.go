package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
)

// The unanswered requests that a server of ours takes from a broker by default. The loops take
// as many.
const (
	rabbitPrefetch = 64
	redisPrefetch  = 128
)

func rabbitRows() []row {
	return []row{
		timeRow("time per call vs hand-written loop", atMost(1.1), rabbitOurs.with(1), theirs(rabbitLoop, 1)),
		speedRow("calls/s vs hand-written loop, manual ack", atLeast(1), rabbitOurs.with(64), theirs(rabbitLoop, 64)),
		speedRow("calls/s vs a channel for each caller", bound{}, rabbitOurs.with(64), theirs(rabbitNaive, 64)),
		speedRow("calls/s vs best loop, grouped acks", bound{}, rabbitOurs.with(64), theirs(rabbitBest, 64)),
		speedRow("calls/s vs hand-written loop", atLeast(3.5), rabbitBatch.with(64), theirs(rabbitLoop, 64)),
		speedRow("calls/s vs hand-written loop", atLeast(8), rabbitBatch.with(512), theirs(rabbitLoop, 512)),
	}
}

var (
	rabbitOurs  = transport{"RabbitMQ", openRabbitOurs(asItIs)}
	rabbitBatch = transport{"RabbitMQ with Batch", openRabbitOurs(batch)}
)

func asItIs(conn jsonrpc2.ClientConn) jsonrpc2.ClientConn { return conn }

// batch joins calls that wait into batches.
func batch(conn jsonrpc2.ClientConn) jsonrpc2.ClientConn { return jsonrpc2.Batch(conn, nil) }

// openRabbitOurs returns an opener of our server and our client. around wraps the client's
// Conn.
func openRabbitOurs(around func(jsonrpc2.ClientConn) jsonrpc2.ClientConn) opener {
	return func(env *environment, t *target) error {
		url, err := env.amqpURL()
		if err != nil {
			return err
		}
		server, err := newServer()
		if err != nil {
			return err
		}
		queue := amqpconn.Queue{Args: amqp.Table{"x-expires": queueExpiry}}
		name := "benchmarks:" + rand.Text()
		there, err := amqpconn.Listen(url, name, &amqpconn.ListenOptions{Queue: queue})
		if err != nil {
			return err
		}
		serveOurs(t, server, there)
		here, err := amqpconn.Dial(url, name, &amqpconn.DialOptions{Declare: &queue})
		if err != nil {
			return err
		}
		t.useClient(jsonrpc2.NewClient(around(here), nil))
		return nil
	}
}

// queueExpiry is the time after which the broker deletes an unused queue, in milliseconds.
const queueExpiry = 60_000

// directReplyTo is the pseudo-queue by which a client gets answers without a reply queue.
const directReplyTo = "amq.rabbitmq.reply-to"

// rabbitLoop is a loop as one writes it by hand. The callers share one channel with direct
// reply-to. The server acknowledges each request when it has answered it.
func rabbitLoop(env *environment, t *target) error {
	return openRabbit(env, t, 1, &rabbitServer{ack: (*rabbitServer).ackEach})
}

// rabbitNaive is rabbitLoop with a channel for each caller.
func rabbitNaive(env *environment, t *target) error {
	return openRabbit(env, t, t.callers, &rabbitServer{ack: (*rabbitServer).ackEach})
}

// rabbitBest is rabbitLoop with a server that acknowledges many requests at once.
func rabbitBest(env *environment, t *target) error {
	return openRabbit(env, t, 1, &rabbitServer{ack: (*rabbitServer).ackMany})
}

// rabbitSlow is rabbitBest with a method that takes time.
func rabbitSlow(env *environment, t *target) error {
	return openRabbit(env, t, 1, &rabbitServer{ack: (*rabbitServer).ackMany, takes: slowness})
}

// openRabbit opens the server, and a client with so many channels.
func openRabbit(env *environment, t *target, channels int, server *rabbitServer) error {
	url, err := env.amqpURL()
	if err != nil {
		return err
	}
	queue := "benchmarks:" + rand.Text()
	if err := server.open(t, url, queue); err != nil {
		return err
	}
	conn, err := dialRabbit(t, url)
	if err != nil {
		return err
	}
	clients := make([]*rabbitClient, channels)
	for i := range clients {
		if clients[i], err = newRabbitClient(t, conn, queue); err != nil {
			return err
		}
	}
	t.call = func(caller int) error { return clients[caller%channels].call(env.ctx) }
	return nil
}

func dialRabbit(t *target, url string) (*amqp.Connection, error) {
	conn, err := amqp.Dial(url)
	if err == nil {
		t.onClose(func() { _ = conn.Close() })
	}
	return conn, err
}

// A rabbitServer answers each request on a goroutine of its own.
type rabbitServer struct {
	ack   func(*rabbitServer) // acknowledges what is answered
	takes time.Duration       // by the method

	in, out  *amqp.Channel
	requests <-chan amqp.Delivery
	answered chan uint64 // delivery tags of answered requests
}

// open consumes on one connection and publishes on another, as RabbitMQ advises: flow control of
// publishers then does not stop the consumer.
func (s *rabbitServer) open(t *target, url, queue string) error {
	s.answered = make(chan uint64, rabbitPrefetch)
	for _, channel := range []**amqp.Channel{&s.in, &s.out} {
		conn, err := dialRabbit(t, url)
		if err != nil {
			return err
		}
		if *channel, err = conn.Channel(); err != nil {
			return err
		}
	}
	_, err := s.in.QueueDeclare(queue, false, true, false, false, nil)
	if err != nil {
		return err
	}
	if err := s.in.Qos(rabbitPrefetch, 0, false); err != nil {
		return err
	}
	if s.requests, err = s.in.Consume(queue, queue, false, false, false, false, nil); err != nil {
		return err
	}
	t.onClose(func() { _, _ = s.in.QueueDelete(queue, false, false, false) })
	t.start(func() { s.ack(s) }, func() {})
	t.start(s.serve, func() { _ = s.in.Cancel(queue, false) })
	return nil
}

// serve serves until the consumer is cancelled.
func (s *rabbitServer) serve() {
	defer close(s.answered)
	var running sync.WaitGroup
	defer running.Wait()
	for d := range s.requests {
		running.Go(func() { s.answer(d) })
	}
}

func (s *rabbitServer) answer(d amqp.Delivery) {
	time.Sleep(s.takes)
	if _, answer, err := answerLoop(d.Body); err == nil {
		_ = s.out.Publish("", d.ReplyTo, false, false, amqp.Publishing{
			ContentType:   d.ContentType,
			CorrelationId: d.CorrelationId,
			Body:          answer,
		})
	}
	s.answered <- d.DeliveryTag
}

// ackEach acknowledges one request after the other.
func (s *rabbitServer) ackEach() {
	for tag := range s.answered {
		_ = s.in.Ack(tag, false)
	}
}

// ackMany acknowledges all answered requests before the first unanswered one, by as few
// acknowledgements as possible.
func (s *rabbitServer) ackMany() {
	done := make(map[uint64]bool)
	next := uint64(1)
	for tag := range s.answered {
		done[tag] = true
		for _, tag := range drain(s.answered, rabbitPrefetch) {
			done[tag] = true
		}
		first := next
		for ; done[next]; next++ {
			delete(done, next)
		}
		if next > first {
			_ = s.in.Ack(next-1, true)
		}
	}
}

// A rabbitClient has many calls under way on one channel.
type rabbitClient struct {
	channel *amqp.Channel
	queue   string
	answers <-chan amqp.Delivery
	seq     atomic.Int64

	mu      sync.Mutex // protects following
	waiting map[string]chan amqp.Delivery
}

var errRabbitGone = errors.New("the connection to RabbitMQ ended")

func newRabbitClient(t *target, conn *amqp.Connection, queue string) (*rabbitClient, error) {
	c := &rabbitClient{queue: queue, waiting: make(map[string]chan amqp.Delivery)}
	var err error
	if c.channel, err = conn.Channel(); err != nil {
		return nil, err
	}
	if c.answers, err = c.channel.Consume(directReplyTo, "", true, false, false, false, nil); err != nil {
		return nil, err
	}
	t.start(c.read, func() { _ = c.channel.Close() })
	return c, nil
}

// read hands the answers to their callers until the channel is closed.
func (c *rabbitClient) read() {
	for d := range c.answers {
		if answer := c.take(d.CorrelationId); answer != nil {
			answer <- d
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, answer := range c.waiting {
		close(answer)
	}
	c.waiting = nil
}

func (c *rabbitClient) take(id string) chan amqp.Delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	answer := c.waiting[id]
	delete(c.waiting, id)
	return answer
}

// expect returns a channel for the answer with an id. It returns nil if no answer can come any
// more.
func (c *rabbitClient) expect(id string) chan amqp.Delivery {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting == nil {
		return nil
	}
	answer := make(chan amqp.Delivery, 1)
	c.waiting[id] = answer
	return answer
}

func (c *rabbitClient) call(ctx context.Context) error {
	id := strconv.FormatInt(c.seq.Add(1), 10)
	text, err := newLoopRequest(id, "")
	if err != nil {
		return err
	}
	answer := c.expect(id)
	if answer == nil {
		return errRabbitGone
	}
	err = c.channel.PublishWithContext(ctx, "", c.queue, false, false, amqp.Publishing{
		ContentType:   "application/json",
		CorrelationId: id,
		ReplyTo:       directReplyTo,
		Body:          text,
	})
	if err != nil {
		return err
	}
	d, ok := <-answer
	if !ok {
		return errRabbitGone
	}
	var response loopResponse
	if err := json.Unmarshal(d.Body, &response); err != nil {
		return err
	}
	return response.check()
}
