package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/rpc"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/micromessaging/jsonrpc2"
)

// newPipes returns a broker whose queues are in memory. Each has one client and one server.
func newPipes() *broker {
	type pipe struct {
		here  jsonrpc2.ClientConn
		there jsonrpc2.ServerConn
	}
	pipes := make(map[string]pipe)
	open := func(queue string) pipe {
		if _, ok := pipes[queue]; !ok {
			here, there := jsonrpc2.Pipe()
			pipes[queue] = pipe{here, there}
		}
		return pipes[queue]
	}
	return &broker{
		name: "pipe",
		dial: func(queue string, _ jsonrpc2.Guarantee) (jsonrpc2.ClientConn, prometheus.Collector, error) {
			return open(queue).here, prometheus.NewRegistry(), nil
		},
		listen: func(queue string, _ jsonrpc2.Guarantee) (jsonrpc2.ServerConn, prometheus.Collector, error) {
			return open(queue).there, prometheus.NewRegistry(), nil
		},
		close: func() error { return nil },
	}
}

// newShop returns a process that does what all commands do, until the end of the test.
func newShop(t *testing.T, commands ...func(*process) error) *process {
	t.Helper()
	p := newProcess(newPipes(), trace.NewTracerProvider())
	for _, command := range commands {
		require.NoError(t, command(p))
	}
	t.Cleanup(func() { require.NoError(t, p.close()) })
	return p
}

// answer returns what the process answers to an HTTP request.
func (p *process) answer(method, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	p.mux.ServeHTTP(w, r)
	return w
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	p := newShop(t, web, worker)
	for _, test := range []struct {
		body   string
		status int
		text   string
	}{
		{`{"item":"tea","quantity":2}`, http.StatusCreated, `"reservation"`},
		{`{"item":"coffee","quantity":1}`, http.StatusConflict, `out of stock: "coffee"`},
		{`{"item":"tea","quantity":2000000}`, http.StatusConflict, `out of stock: "tea"`},
		{`{"item":"cocoa","quantity":1}`, http.StatusNotFound, `no such item: "cocoa"`},
		{`{"item":"tea"}`, http.StatusBadRequest, "quantity must be at least 1"},
		{`{"item":`, http.StatusBadRequest, "unexpected EOF"},
		{`{"item":"` + strings.Repeat("tea", maxOrder) + `"}`, http.StatusBadRequest, "too large"},
	} {
		w := p.answer("POST", "/orders", test.body)
		require.Equal(t, test.status, w.Code, test.body)
		require.Contains(t, w.Body.String(), test.text)
	}
	require.Equal(t, http.StatusOK, p.answer("GET", "/readyz", "").Code)
}

// A slowInventory answers when nobody waits any more.
type slowInventory struct{ deadlines chan time.Time }

func (i slowInventory) Reserve(order Order, _ *string) error {
	deadline, _ := order.Deadline()
	i.deadlines <- deadline
	<-order.Done()
	return order.Err()
}

// slowWorker serves Orders, with a slowInventory.
func slowWorker(p *process, slow slowInventory) error {
	inventory, err := p.client("inventory", jsonrpc2.AtMostOnce)
	if err != nil {
		return err
	}
	server := rpc.NewServer()
	if err := server.RegisterName("Inventory", slow); err != nil {
		return err
	}
	conn, _, err := p.broker.listen("inventory", jsonrpc2.AtMostOnce)
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- jsonrpc2.Serve(ctx, server, conn, nil) }()
	p.drains = append(p.drains, func(context.Context) error {
		end()
		return <-served
	})
	return p.serve("orders", &Orders{inventory: inventory}, jsonrpc2.AtMostOnce)
}

// The deadline of a request reaches the second service, and is no longer than maxTimeout.
func TestDeadline(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]time.Duration{
		"":           defaultTimeout,
		"no number":  defaultTimeout,
		"-1":         defaultTimeout,
		"250":        250 * time.Millisecond,
		"4000000000": maxTimeout,
	} {
		t.Run(header, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				slow := slowInventory{make(chan time.Time, 1)}
				p := newShop(t, web, func(p *process) error { return slowWorker(p, slow) })
				begin := time.Now()
				w := p.answer("POST", "/orders", `{"item":"tea","quantity":1}`, "Request-Timeout-Ms", header)
				// It is the first if a service finds out before the front does.
				require.Contains(t, []int{http.StatusBadGateway, http.StatusGatewayTimeout}, w.Code)
				require.Contains(t, w.Body.String(), "perhaps placed")
				require.Equal(t, want, (<-slow.deadlines).Sub(begin))
			})
		})
	}
}

// An order that nobody takes is withdrawn. The customer may try again.
func TestNoWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newShop(t, web)
		w := p.answer("POST", "/orders", `{"item":"tea","quantity":1}`)
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		require.Contains(t, w.Body.String(), "not placed")
	})
}

// A fullQueue is a ClientConn that takes no requests.
type fullQueue struct{ jsonrpc2.ClientConn }

func (fullQueue) WriteRequest(*jsonrpc2.Request) error { return jsonrpc2.ErrOverloaded }

// An order that can't be recorded is placed all the same, before its customer gives up.
func TestAuditFull(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		full := func(p *process) error {
			dial := p.broker.dial
			p.broker.dial = func(queue string, guarantee jsonrpc2.Guarantee) (conn jsonrpc2.ClientConn, counts prometheus.Collector, err error) {
				conn, counts, err = dial(queue, guarantee)
				if queue == "audit" {
					conn = fullQueue{conn}
				}
				return conn, counts, err
			}
			return nil
		}
		p := newShop(t, full, web, worker)
		w := p.answer("POST", "/orders", `{"item":"tea","quantity":1}`)
		require.Equal(t, http.StatusCreated, w.Code, w.Body)
	})
}

// A broker that is away is seen by the probe.
func TestNotReady(t *testing.T) {
	t.Parallel()
	b, err := newBroker("redis://127.0.0.1:1")
	require.NoError(t, err)
	p := newProcess(b, trace.NewTracerProvider())
	require.NoError(t, web(p))
	w := p.answer("GET", "/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Contains(t, w.Body.String(), "127.0.0.1:1")
	require.NoError(t, p.close())
}

// setBrokerURLs sets the variables that name the broker.
func setBrokerURLs(t *testing.T, broker, redis, cloudamqp string) {
	t.Setenv("BROKER_URL", broker)
	t.Setenv("REDIS_URL", redis)
	t.Setenv("CLOUDAMQP_URL", cloudamqp)
}

// A wrong configuration ends the program, and shows no password.
func TestWrongConfiguration(t *testing.T) {
	require.EqualError(t, run(t.Context(), nil), "usage: shop web, or: shop worker")
	require.EqualError(t, run(t.Context(), []string{"shop"}), "usage: shop web, or: shop worker")
	const bad = "redis://:s3cret@localhost:port"
	const good = "redis://127.0.0.1:1"
	for _, urls := range [][3]string{{}, {"localhost"}, {bad, good, good}, {"", bad, good}, {"", "", bad}} {
		setBrokerURLs(t, urls[0], urls[1], urls[2])
		require.EqualError(t, run(t.Context(), []string{"web"}), "BROKER_URL, REDIS_URL or CLOUDAMQP_URL must be redis://… or amqp://…", urls)
	}
	setBrokerURLs(t, "amqp://:s3cret@localhost:port", "", "")
	err := run(t.Context(), []string{"worker"})
	require.Error(t, err)
	require.NotContains(t, err.Error(), "s3cret")
}

// The broker is that of the first variable that is set. Platforms set the last two.
func TestBrokerURL(t *testing.T) {
	t.Setenv("PORT", "0")
	ended, end := context.WithCancel(t.Context())
	end()
	for _, urls := range [][3]string{
		{"redis://127.0.0.1:1", "bad", "bad"},
		{"", "redis://127.0.0.1:1", "bad"},
		{"", "", "amqp://127.0.0.1:1"},
	} {
		setBrokerURLs(t, urls[0], urls[1], urls[2])
		require.NoError(t, run(ended, []string{"web"}), urls)
	}
}
