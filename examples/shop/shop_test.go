package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

const (
	customers = 6
	restarts  = 3
	traced    = 20 // one order of so many has its spans recorded
)

func TestShopOverRedis(t *testing.T) {
	t.Parallel()
	r := brokertest.StartRedis(t)
	testShop(t, r.URL())
	keys, err := r.Client(t).Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	require.Empty(t, keys)
}

func TestShopOverRabbitMQ(t *testing.T) {
	t.Parallel()
	r := brokertest.SharedRabbitMQ(t)
	testShop(t, r.URL())
	servicetest.EventuallyEqual(t, "audit\t0\t0\ninventory\t0\t0\norders\t0\t0", func() string {
		queues := strings.Split(strings.TrimSpace(r.Queues("name", "messages", "consumers")), "\n")
		return strings.Join(slices.Sorted(slices.Values(queues)), "\n")
	})
}

// Customers place orders while a worker ends and comes back, again and again. No order
// fails, each is placed once and recorded once, and in the end nothing is left.
func testShop(t *testing.T, brokerURL string) {
	s := startSite(t, brokerURL)
	orders := s.placeOrders(func() {
		for range restarts {
			s.comeAndGo()
		}
	})
	require.Empty(t, orders.failed)
	s.requireRecords(orders.placed)
	s.requireMetrics(len(orders.placed))
	s.requireRefusal()
	s.requireTraces(orders.traces)
	s.endAll()
}

// comeAndGo starts a worker, and ends it when it has placed some orders.
func (s *site) comeAndGo() {
	s.t.Helper()
	cmd, url := s.startWorker()
	servicetest.Eventually(s.t, func() bool {
		return metric(url, `jsonrpc2_server_requests_ended_total{outcome="answered",queue="orders"}`) > 10
	}, "the worker gets no orders")
	s.end(cmd)
}

// orders are what customers have placed.
type orders struct {
	mu     sync.Mutex
	placed []Receipt
	failed []string
	traces []string // ids
}

// placeOrders has customers place orders, each one after another, until f returns.
func (s *site) placeOrders(f func()) *orders {
	s.t.Helper()
	o := new(orders)
	var placing sync.WaitGroup
	ctx, stop := context.WithCancel(s.t.Context())
	for range customers {
		placing.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				o.place(s.web, n%traced == 0)
			}
		})
	}
	defer placing.Wait()
	defer stop()
	f()
	return o
}

// place places an order as a part of a trace of the customer's.
func (o *orders) place(web string, sampled bool) {
	trace := fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64()|1)
	status, body := post(web, `{"item":"tea","quantity":1}`, trace, sampled)
	var receipt Receipt
	err := json.Unmarshal([]byte(body), &receipt)
	o.mu.Lock()
	defer o.mu.Unlock()
	if status != http.StatusCreated || err != nil {
		o.failed = append(o.failed, fmt.Sprint(status, " ", body))
		return
	}
	o.placed = append(o.placed, receipt)
	if sampled {
		o.traces = append(o.traces, trace)
	}
}

func post(web, order, trace string, sampled bool) (status int, body string) {
	r, err := http.NewRequest(http.MethodPost, web+"/orders", strings.NewReader(order))
	if err != nil {
		return 0, err.Error()
	}
	flags := "00"
	if sampled {
		flags = "01"
	}
	r.Header.Set("Traceparent", "00-"+trace+"-"+customerSpan+"-"+flags)
	r.Header.Set("Request-Timeout-Ms", "20000")
	return send(r)
}

var record = regexp.MustCompile(`order recorded order=(\S+) item=tea quantity=1`)

// recorded returns the orders that Audit has recorded.
func (s *site) recorded() (ids []string) {
	for _, line := range s.lines() {
		if match := record.FindStringSubmatch(line); match != nil {
			ids = append(ids, match[1])
		}
	}
	return ids
}

// requireRecords requires that each order has one record and a reservation of its own.
func (s *site) requireRecords(placed []Receipt) {
	s.t.Helper()
	servicetest.EventuallyEqual(s.t, len(placed), func() (n int) {
		for _, out := range s.outputs {
			n += strings.Count(out.String(), "order recorded")
		}
		return n
	})
	var ids []string
	reservations := make(map[string]bool)
	for _, receipt := range placed {
		ids = append(ids, receipt.Order)
		reservations[receipt.Reservation] = true
	}
	require.Len(s.t, reservations, len(placed))
	require.Equal(s.t, slices.Sorted(slices.Values(ids)), slices.Sorted(slices.Values(s.recorded())))
}

// requireMetrics requires that web has counted the orders, and that each worker had some.
func (s *site) requireMetrics(placed int) {
	s.t.Helper()
	require.Equal(s.t, placed, metric(s.web, `jsonrpc2_client_requests_ended_total{outcome="answered",queue="orders"}`))
	require.Equal(s.t, placed, metric(s.web, `jsonrpc2_client_request_duration_seconds_count{method="Orders.Place",outcome="answered",queue="orders"}`))
	for _, worker := range s.workers {
		for _, queue := range []string{"orders", "inventory"} {
			require.Positive(s.t, metric(worker, `jsonrpc2_server_requests_ended_total{outcome="answered",queue="`+queue+`"}`))
		}
		require.Positive(s.t, metric(worker, `jsonrpc2_server_requests_ended_total{outcome="done",queue="audit"}`))
	}
}

// requireRefusal requires that the error of the second service reaches the customer.
func (s *site) requireRefusal() {
	s.t.Helper()
	status, body := post(s.web, `{"item":"coffee","quantity":1}`, strings.Repeat("c", 32), false)
	require.Equal(s.t, http.StatusConflict, status)
	require.Contains(s.t, body, "out of stock")
	require.Equal(s.t, 1, metric(s.web, `jsonrpc2_client_requests_ended_total{outcome="error",queue="orders"}`))
}

var started = regexp.MustCompile(`started with pid (\d+)`)

// endAll ends foreman, and with it all processes, in good order.
func (s *site) endAll() {
	s.t.Helper()
	s.end(s.foreman)
	out := s.outputs[0].String()
	require.Equal(s.t, 3, strings.Count(out, "exited with code 0"))
	pids := started.FindAllStringSubmatch(out, -1)
	require.Len(s.t, pids, 3)
	for _, match := range pids {
		pid, err := strconv.Atoi(match[1])
		require.NoError(s.t, err)
		require.ErrorIs(s.t, syscall.Kill(pid, 0), syscall.ESRCH)
	}
}
