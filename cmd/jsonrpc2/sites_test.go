package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"log"
	"net"
	"net/http/httptest"
	"net/rpc"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// A site is a place that requests are sent to.
type site struct {
	name, url, queue string

	slow *servicetest.Slow // what serves it, of eachSite
}

// at returns a command line for the site.
func (s site) at(args ...string) []string {
	return append([]string{"-b", s.url, "-q", s.queue}, args...)
}

// Test is a service whose answers are odd.
type Test struct{}

// Fail returns an error with a code and data.
func (Test) Fail(_ struct{}, _ *int) error {
	return &jsonrpc2.Error{Code: 404, Message: "no such\n\x1b[31maccount", Data: json.RawMessage(`{"account": 7}`)}
}

// Plain returns an error without a code.
func (Test) Plain(_ struct{}, _ *int) error {
	return &jsonrpc2.Error{Code: jsonrpc2.CodeServer, Message: "divide by zero"}
}

// Echo returns its params.
func (Test) Echo(params json.RawMessage, reply *json.RawMessage) error {
	*reply = params
	return nil
}

// Meta returns the call's metadata.
func (Test) Meta(args struct{ jsonrpc2.Context }, reply *jsonrpc2.Meta) error {
	*reply = jsonrpc2.CallFrom(args.Context).Meta
	return nil
}

// newRedis returns a site on a Redis of its own.
func newRedis(t *testing.T) (site, *redis.Client) {
	t.Helper()
	broker := brokertest.StartRedis(t)
	return site{name: "redis", url: broker.URL(), queue: queue}, broker.Client(t)
}

// newRabbitMQ returns a site on the RabbitMQ that all tests share, with a queue of its own.
func newRabbitMQ(t *testing.T) site {
	t.Helper()
	s := site{name: "rabbitmq", url: brokertest.SharedRabbitMQ(t).URL(), queue: "calc " + rand.Text()}
	t.Cleanup(func() {
		ch := s.channel(t)
		for _, name := range []string{s.queue, s.queue + ".dead"} {
			_, err := ch.QueueDelete(name, false, false, false)
			require.NoError(t, err)
		}
		require.NoError(t, ch.ExchangeDelete(s.queue+".dead", false, false))
	})
	return s
}

// channel returns a channel of the site's RabbitMQ.
func (s site) channel(t *testing.T) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(s.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

// serve serves Calc, Test and others at a site of a broker.
func (s site) serve(t *testing.T, services ...any) *servicetest.Server {
	t.Helper()
	return servicetest.Serve(t, s.listen(t, 0), jsonrpc2.ServerOptions{Logger: servicetest.Quiet}, services...)
}

// serveMended serves as Poison what has not its fault.
func serveMended(t *testing.T, s site, mended *Mended) {
	server := rpc.NewServer()
	require.NoError(t, server.RegisterName("Poison", mended))
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan error, 1)
	conn := s.listen(t, 0)
	go func() { done <- jsonrpc2.Serve(ctx, server, conn, &jsonrpc2.ServerOptions{Logger: servicetest.Quiet}) }()
	t.Cleanup(func() {
		drain()
		require.NoError(t, awaited(t, done))
	})
}

// listen returns the server's end of a site of a broker, at least once. A request that ends
// maxAttempts servers is dead.
func (s site) listen(t testing.TB, maxAttempts int) jsonrpc2.ServerConn {
	if s.name == "redis" {
		opts, err := redis.ParseURL(s.url)
		require.NoError(t, err)
		rdb := redis.NewClient(opts)
		t.Cleanup(func() { _ = rdb.Close() })
		conn, err := redisconn.Listen(rdb, s.queue, redisOptions(maxAttempts))
		require.NoError(t, err)
		return conn
	}
	conn, err := amqpconn.Listen(s.url, s.queue, rabbitOptions(maxAttempts))
	require.NoError(t, err)
	return conn
}

func redisOptions(maxAttempts int) *redisconn.ListenOptions {
	return &redisconn.ListenOptions{
		Guarantee: jsonrpc2.AtLeastOnce, Lease: 300 * time.Millisecond, MaxAttempts: maxAttempts, Logger: servicetest.Quiet,
	}
}

func rabbitOptions(maxAttempts int) *amqpconn.ListenOptions {
	return &amqpconn.ListenOptions{
		Queue: amqpconn.Queue{Quorum: true, DeadLetter: true}, MaxDeliveries: maxAttempts, Logger: servicetest.Quiet,
	}
}

// Poison is a service whose method ends the process.
type Poison struct{}

// Take panics.
func (Poison) Take([]int, *int) error { panic("poison") }

// serveDying is a server process that dies of Poison.
func serveDying(url, queue string) {
	conn, err := listenDying(url, queue)
	if err != nil {
		log.Fatal(err)
	}
	server := rpc.NewServer()
	for _, service := range []any{calc.Calc{}, Poison{}} {
		if err := server.Register(service); err != nil {
			log.Fatal(err)
		}
	}
	if err := jsonrpc2.Serve(brokertest.Drained(), server, conn, &jsonrpc2.ServerOptions{Service: "Calc", Logger: servicetest.Quiet}); err != nil {
		log.Fatal(err)
	}
}

// listenDying returns the server's end of a server that takes one request at a time: what it
// holds when it dies is dead.
func listenDying(url, queue string) (jsonrpc2.ServerConn, error) {
	const maxAttempts = 1
	if strings.HasPrefix(url, "redis:") {
		opts, err := redis.ParseURL(url)
		if err != nil {
			return nil, err
		}
		listen := redisOptions(maxAttempts)
		listen.Prefetch = 1
		return redisconn.Listen(redis.NewClient(opts), queue, listen)
	}
	listen := rabbitOptions(maxAttempts)
	listen.Prefetch = 1
	return amqpconn.Listen(url, queue, listen)
}

// eachSite runs a test at a site of each kind, which serves Calc, Test, Counter and Slow. Slow is
// opened when the test has ended.
func eachSite(t *testing.T, test func(t *testing.T, s site)) {
	for name, serve := range map[string]func(t *testing.T, services []any) site{
		"redis": func(t *testing.T, services []any) site {
			s, _ := newRedis(t)
			s.serve(t, services...)
			return s
		},
		"rabbitmq": func(t *testing.T, services []any) site {
			s := newRabbitMQ(t)
			s.serve(t, services...)
			s.requireServed(t)
			return s
		},
		"http": serveHTTP,
		"tcp":  func(t *testing.T, services []any) site { return serveStream(t, "tcp", services) },
		"unix": func(t *testing.T, services []any) site { return serveStream(t, "unix", services) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			slow := servicetest.NewSlow()
			s := serve(t, []any{Test{}, new(servicetest.Counter), slow})
			t.Cleanup(slow.Open)
			s.slow = slow
			test(t, s)
		})
	}
}

// requireServed waits until the queue is there and has a server.
func (s site) requireServed(t *testing.T) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		r := run(t, s.at("queue", "-o", "json")...)
		return r.status == exitDone && *parsed[queueLook](t, r.stdout)[0].Servers > 0
	})
}

func serveHTTP(t *testing.T, services []any) site {
	handler, err := httpconn.Listen(nil)
	require.NoError(t, err)
	servicetest.Serve(t, handler, jsonrpc2.ServerOptions{Logger: servicetest.Quiet}, services...)
	web := httptest.NewServer(handler)
	t.Cleanup(web.Close)
	return site{name: "http", url: web.URL + "/calc", queue: queue}
}

func serveStream(t *testing.T, network string, services []any) site {
	addr := "127.0.0.1:0"
	if network == "unix" {
		addr = filepath.Join(t.TempDir(), "socket")
	}
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	server := rpc.NewServer()
	for _, service := range append(services, calc.Calc{}) {
		require.NoError(t, server.Register(service))
	}
	ctx, drain := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- jsonrpc2.ServeListener(ctx, server, l, &jsonrpc2.ListenerOptions{
			ServerOptions: jsonrpc2.ServerOptions{Service: "Calc", Logger: servicetest.Quiet},
		})
	}()
	t.Cleanup(func() {
		drain()
		require.NoError(t, awaited(t, done))
	})
	return site{name: network, url: network + "://" + l.Addr().String(), queue: queue}
}
