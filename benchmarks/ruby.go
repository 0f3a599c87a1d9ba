package main

import (
	"crypto/rand"
	"fmt"
	"strings"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/internal/rubytest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// rubyRows returns the rows with the Ruby programs of package rubytest.
func rubyRows() []row {
	return []row{
		speedRow("calls/s of our server vs a Ruby one", bound{}, redisCalc.with(64), theirs(redisRubyServer, 64)),
		timeRow("time with our server vs a Ruby one", bound{}, redisRubyClient.with(1), theirs(rubyClient(redisRubyServer), 1)),
		speedRow("calls/s of our server vs a Ruby one", bound{}, rabbitCalc.with(64), theirs(rabbitRubyServer, 64)),
		timeRow("time with our server vs a Ruby one", bound{}, rabbitRubyClient.with(1), theirs(rubyClient(rabbitRubyServer), 1)),
	}
}

var (
	redisCalc        = transport{"Redis, wire contract", openRedisCalc}
	redisRubyClient  = transport{"Redis, 300 calls of Ruby", rubyClient(openRedisCalc)}
	rabbitCalc       = transport{"RabbitMQ, wire contract", openRabbitCalc}
	rabbitRubyClient = transport{"RabbitMQ, 300 calls of Ruby", rubyClient(openRabbitCalc)}
)

// rubyCalls is how many calls a client in Ruby makes in each run.
const rubyCalls = 300

// serveCalc serves Calc under the names that Ruby's programs use, add and subtract.
func serveCalc(t *target, conn jsonrpc2.ServerConn) error {
	server, err := newServer()
	if err == nil {
		serveWith(t, server, conn, &jsonrpc2.ServerOptions{Service: "Calc"})
	}
	return err
}

// useCalc calls a service under those names.
func useCalc(t *target, conn jsonrpc2.ClientConn) {
	t.useClient(jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Calc", Positional: true}))
}

// startRuby starts a server in Ruby.
func startRuby(t *target, script string, args ...string) error {
	h := new(harness)
	t.onClose(func() { _ = h.try(h.close) })
	return h.try(func() { rubytest.Start(h, script, args...) })
}

// openRedisCalc opens the same as redisOurs, under the names that Ruby's programs use.
func openRedisCalc(env *environment, t *target) error {
	p, err := newCalcPair(env, t)
	if err != nil {
		return err
	}
	there, err := redisconn.Listen(p.there, p.queue, nil)
	if err != nil {
		return err
	}
	return serveCalc(t, there)
}

// redisRubyServer is our client with a server in Ruby.
func redisRubyServer(env *environment, t *target) error {
	p, err := newCalcPair(env, t)
	if err != nil {
		return err
	}
	return startRuby(t, "redis_server.rb", env.redis, p.queue, "reply_to")
}

// newCalcPair opens a redisPair, and our client on it.
func newCalcPair(env *environment, t *target) (*redisPair, error) {
	p, err := newRedisPair(env, t, 0)
	if err != nil {
		return nil, err
	}
	t.ruby = []string{"redis_client.rb", env.redis, p.queue, "reply_to"}
	here, err := redisconn.Dial(p.here, p.queue, nil)
	if err != nil {
		return nil, err
	}
	useCalc(t, here)
	return p, nil
}

// openRabbitCalc opens the same as rabbitOurs, under the names that Ruby's programs use, and on
// a queue that they accept.
func openRabbitCalc(env *environment, t *target) error {
	url, queue, err := newCalcQueue(env, t)
	if err != nil {
		return err
	}
	plain := amqpconn.Queue{Plain: true}
	there, err := amqpconn.Listen(url, queue, &amqpconn.ListenOptions{Queue: plain})
	if err != nil {
		return err
	}
	if err := serveCalc(t, there); err != nil {
		return err
	}
	here, err := amqpconn.Dial(url, queue, &amqpconn.DialOptions{Declare: &plain})
	if err == nil {
		useCalc(t, here)
	}
	return err
}

// rabbitRubyServer is our client with a server in Ruby.
func rabbitRubyServer(env *environment, t *target) error {
	url, queue, err := newCalcQueue(env, t)
	if err != nil {
		return err
	}
	if err := startRuby(t, "amqp_server.rb", url, queue, "reply_to"); err != nil {
		return err
	}
	here, err := amqpconn.Dial(url, queue, nil)
	if err == nil {
		useCalc(t, here)
	}
	return err
}

// newCalcQueue returns the URL of a RabbitMQ, and the name of a queue on it. Closing the target
// deletes the queue.
func newCalcQueue(env *environment, t *target) (url, queue string, err error) {
	if url, err = env.amqpURL(); err != nil {
		return "", "", err
	}
	conn, err := dialRabbit(t, url)
	if err != nil {
		return "", "", err
	}
	ch, err := conn.Channel()
	if err != nil {
		return "", "", err
	}
	queue = "benchmarks:" + rand.Text()
	t.ruby = []string{"amqp_client.rb", url, queue, "reply_to"}
	t.onClose(func() { _, _ = ch.QueueDelete(queue, false, false, false) })
	return url, queue, nil
}

// rubyClient returns an opener whose calls are runs of a program in Ruby, which calls the
// server of o. One call of the target is the program from its start to its end. The program
// sends all requests before it waits for the first answer.
func rubyClient(o opener) opener {
	return func(env *environment, t *target) error {
		if err := o(env, t); err != nil {
			return err
		}
		h := new(harness)
		t.onClose(func() { _ = h.try(h.close) })
		args := append([]string{"--count", fmt.Sprint(rubyCalls)}, t.ruby[1:]...)
		args = append(args, "add", "[1,5.1]")
		t.call = func(int) error {
			var out string
			err := h.try(func() { out = rubytest.Run(h, t.ruby[0], args...) })
			if n := strings.Count(out, "6.1"); err == nil && n != rubyCalls {
				err = fmt.Errorf("%d of %d answers from Ruby", n, rubyCalls)
			}
			return err
		}
		return nil
	}
}
