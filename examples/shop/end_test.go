package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A gate is a ClientConn that holds requests back until it is opened.
type gate struct {
	jsonrpc2.ClientConn
	reached chan struct{} // has room for one
	opened  chan struct{}
}

func (g *gate) WriteRequest(r *jsonrpc2.Request) error {
	r.Keep()
	go func() {
		<-g.opened
		if err := g.ClientConn.WriteRequest(r); err != nil {
			r.Fail(err)
		}
	}()
	select {
	case g.reached <- struct{}{}:
	default:
	}
	return nil
}

// An order under way at the end of the only worker is still placed: Orders is drained before
// what it calls.
func TestDrainsInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(newPipes(), trace.NewTracerProvider())
		g := &gate{reached: make(chan struct{}, 1), opened: make(chan struct{})}
		dial := p.broker.dial
		p.broker.dial = func(queue string, guarantee jsonrpc2.Guarantee) (conn jsonrpc2.ClientConn, counts prometheus.Collector, err error) {
			conn, counts, err = dial(queue, guarantee)
			if queue == "inventory" {
				g.ClientConn, conn = conn, g
			}
			return conn, counts, err
		}
		require.NoError(t, web(p))
		require.NoError(t, worker(p))

		status, closed := make(chan int, 1), make(chan error, 1)
		go func() { status <- p.answer("POST", "/orders", `{"item":"tea","quantity":1}`).Code }()
		<-g.reached
		go func() { closed <- p.close() }()
		synctest.Wait() // until close waits for the order
		close(g.opened)
		require.Equal(t, http.StatusCreated, <-status)
		require.NoError(t, <-closed)
	})
}

// A request under way at the end is answered, while no other is taken.
func TestAnswersBeforeTheEnd(t *testing.T) {
	t.Parallel()
	p := newProcess(newPipes(), trace.NewTracerProvider())
	reached, opened := make(chan struct{}), make(chan struct{})
	p.mux.HandleFunc("GET /slow", func(http.ResponseWriter, *http.Request) {
		close(reached)
		<-opened
	})
	port := brokertest.FreePort(t)
	ctx, end := context.WithCancel(t.Context())
	served, status := make(chan error, 1), make(chan int, 1)
	go func() { served <- errors.Join(p.serveHTTP(ctx, port), p.close()) }()
	awaitPort(t, port, true)
	go func() {
		code, _ := fetch("http://127.0.0.1:" + port + "/slow")
		status <- code
	}()
	<-reached
	end()
	awaitPort(t, port, false)
	close(opened)
	require.Equal(t, http.StatusOK, <-status)
	require.NoError(t, <-served)
}

// A Lazy has a method that returns when its context ends.
type Lazy struct{ begun chan struct{} }

func (l Lazy) Wait(ctx struct{ jsonrpc2.Context }, _ *struct{}) error {
	l.begun <- struct{}{}
	<-ctx.Done()
	return nil
}

// The steps of the end share one deadline: the methods of all servers are answered in time.
func TestDeadlineOfTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProcess(newPipes(), trace.NewTracerProvider())
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		lazy := Lazy{make(chan struct{})}
		queues := []string{"orders", "inventory", "audit"}
		answers := make(chan error, len(queues))
		for _, queue := range queues {
			require.NoError(t, p.serve(queue, lazy, jsonrpc2.AtMostOnce))
			conn, _, err := p.broker.dial(queue, jsonrpc2.AtMostOnce)
			require.NoError(t, err)
			client := jsonrpc2.NewClient(conn, nil)
			defer client.Close()
			go func() {
				_, err := jsonrpc2.Call[struct{}](ctx, client, "Lazy.Wait", struct{}{})
				answers <- err
			}()
			<-lazy.begun
		}
		begin := time.Now()
		require.NoError(t, p.close())
		require.Equal(t, grace, time.Since(begin))
		for range queues {
			require.NoError(t, <-answers)
		}
	})
}

// awaitPort waits until somebody listens on a port, or nobody.
func awaitPort(t *testing.T, port string, open bool) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			_ = conn.Close()
		}
		return (err == nil) == open
	})
}
