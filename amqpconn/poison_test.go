package amqpconn_test

import (
	"log"
	"net/rpc"
	"os"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/deadtest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// With these in its environment the test binary is a server of Calc and Poison,
// until the end of its standard input.
const (
	serveURL   = "AMQPCONN_TEST_SERVE_URL"
	serveQueue = "AMQPCONN_TEST_SERVE_QUEUE"
	serveDead  = "AMQPCONN_TEST_SERVE_DEAD" // a queue for dead requests, in place of DeadLetter
)

// deliveryLimit is how often the broker delivers a request again.
const deliveryLimit = 3

// servePoison is the server process.
func servePoison() {
	queue := amqpconn.Queue{Quorum: true, Args: amqp.Table{"x-delivery-limit": int32(deliveryLimit)}}
	if dead := os.Getenv(serveDead); dead != "" {
		queue.Args["x-dead-letter-exchange"], queue.Args["x-dead-letter-routing-key"] = "", dead
	} else {
		queue.DeadLetter = true
	}
	conn, err := amqpconn.Listen(os.Getenv(serveURL), os.Getenv(serveQueue), &amqpconn.ListenOptions{
		Queue:    queue,
		Prefetch: 1, // what is delivered together is delivered again together
		Logger:   servicetest.Quiet,
	})
	if err != nil {
		log.Fatal(err)
	}
	server := rpc.NewServer()
	for _, service := range []any{calc.Calc{}, servicetest.Poison{}} {
		if err := server.Register(service); err != nil {
			log.Fatal(err)
		}
	}
	if err := jsonrpc2.Serve(brokertest.Drained(), server, conn, &jsonrpc2.ServerOptions{Service: "Calc", Logger: servicetest.Quiet}); err != nil {
		log.Fatal(err)
	}
}

// A request whose method panics kills each process that takes it, until the
// queue's delivery limit ends that; no other call is lost.
func TestPoisonKillsProcesses(t *testing.T) {
	t.Parallel()
	const processes, callers, calls = 2, 10, 10
	s, dead := newSite(t), newSite(t)
	dead.declare(t, true, false, nil)
	v := brokertest.Supervise(t, processes, "panic: poison", serveURL+"="+s.url, serveQueue+"="+s.queue, serveDead+"="+dead.queue)
	s.requireConsumers(t, processes)

	ch := s.channel(t)
	own, answers := replyQueue(t, ch, "")
	s.publish(t, ch, amqp.Publishing{
		ReplyTo: own,
		Body:    []byte(`{"jsonrpc":"2.0","id":1,"method":"Poison.Take"}`),
	})
	c := dial(t, s, nil, servicetest.Soon)
	servicetest.RequireManyAdds(t, c.Client, callers, calls) // while it kills
	deaths, err := ch.Consume(dead.queue, "", true, false, false, false, nil)
	require.NoError(t, err)
	require.Contains(t, string(take(t, deaths).Body), "Poison.Take")
	s.requireConsumers(t, processes)
	servicetest.RequireManyAdds(t, c.Client, callers, calls) // and when it is gone
	require.Equal(t, 1+deliveryLimit, v.Deaths())
	requireNoMore(t, ch, own, answers)
	v.Drain()
	require.Equal(t, 1+deliveryLimit, v.Deaths(), "the others end in good order")
	s.requireWaiting(t, 0)
}

// Requests that killed their servers are found, run by a mended server, or deleted. A caller
// that still waits gets its answer.
func TestPoisonOperated(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	t.Cleanup(func() { s.deleteDead(t) })
	v := brokertest.Supervise(t, 1, "panic: poison", serveURL+"="+s.url, serveQueue+"="+s.queue)
	s.requireConsumers(t, 1)
	c := dial(t, s, nil, 10*time.Minute) // eight processes have to start and end before
	var calls []*rpc.Call
	for n := range 2 {
		calls = append(calls, c.Go("Poison.Take", struct{}{}, new(int), nil))
		s.requireDead(t, n+1)
	}
	v.Drain()
	require.Equal(t, 2*(1+deliveryLimit), v.Deaths())
	deadtest.Operate(t, s.deadList(t), func(mended *deadtest.Poison) { serve(t, s, nil, mended) })
	<-calls[0].Done
	require.NoError(t, calls[0].Error)
	require.Equal(t, 1, *calls[0].Reply.(*int))
	c.requireAdds(t)
	require.Len(t, calls[1].Done, 0, "its caller waits for his timeout")
}
