package main

import (
	"fmt"
	"strings"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/rubytest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// rubyRows are those with the foreign programs of the wire contract.
func rubyRows() []row {
	return []row{
		speedRow("Redis, 64 callers, calls/s of our server vs a Ruby one", bound{}, side{redisCalc, 64}, side{redisRubyServer, 64}),
		timeRow("Redis, a Ruby client with 300 calls, time with our server vs a Ruby one", bound{}, side{rubyClient(redisCalc), 1}, side{rubyClient(redisRubyServer), 1}),
	}
}

// calcService is what makes Calc.Add travel as add.
const calcService = "Calc"

// redisCalc is redisOurs under the names of the wire contract.
func redisCalc(env *environment, t *target) error {
	p, err := newRedisPair(env, t, 0)
	if err != nil {
		return err
	}
	server, err := newServer()
	if err != nil {
		return err
	}
	opts := &jsonrpc2.ServerOptions{Service: calcService}
	serveWith(t, server, redisconn.Listen(p.there, p.queue, nil), opts)
	useCalc(t, p)
	return nil
}

// redisRubyServer is our client with a server in Ruby.
func redisRubyServer(env *environment, t *target) error {
	p, err := newRedisPair(env, t, 0)
	if err != nil {
		return err
	}
	h := new(harness)
	t.onClose(func() { _ = h.try(h.close) })
	err = h.try(func() { rubytest.Start(h, "redis_server.rb", env.redis, p.queue, "reply_to") })
	useCalc(t, p)
	return err
}

func useCalc(t *target, p *redisPair) {
	opts := &jsonrpc2.ClientOptions{Service: calcService, Positional: true}
	t.useClient(jsonrpc2.NewClient(redisconn.Dial(p.here, p.queue, nil), opts))
	t.queue = p.queue
}

// rubyClient has a program in Ruby call the server of an opener. One call of
// the target is the program from its start to its end, with 300 calls that
// are all sent before the first answer is waited for.
func rubyClient(o opener) opener {
	return func(env *environment, t *target) error {
		if err := o(env, t); err != nil {
			return err
		}
		h := new(harness)
		t.onClose(func() { _ = h.try(h.close) })
		t.call = func(int) error {
			var out string
			err := h.try(func() {
				out = rubytest.Run(h, "redis_client.rb", "--count", "300", env.redis, t.queue, "reply_to", "add", "[1,5.1]")
			})
			if n := strings.Count(out, "6.1"); err == nil && n != 300 {
				err = fmt.Errorf("%d of 300 answers from Ruby", n)
			}
			return err
		}
		return nil
	}
}
