package main

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A record that waits while RabbitMQ restarts is not lost.
func TestRecordSurvivesRestart(t *testing.T) {
	t.Parallel()
	r := brokertest.StartRabbitMQ(t)
	b, err := newBroker(r.URL())
	require.NoError(t, err)
	p := newProcess(b, trace.NewTracerProvider())
	require.NoError(t, p.serve("audit", Audit{}, jsonrpc2.AtLeastOnce)) // creates the queue
	awaitReady(t, p)
	require.NoError(t, p.close())

	listen := b.listen
	b.listen = func(queue string, guarantee jsonrpc2.Guarantee) (jsonrpc2.ServerConn, prometheus.Collector, error) {
		if queue == "audit" {
			return newPipes().listen(queue, guarantee) // so that the record waits
		}
		return listen(queue, guarantee)
	}
	p = newProcess(b, trace.NewTracerProvider())
	require.NoError(t, web(p))
	require.NoError(t, worker(p))
	awaitReady(t, p)
	require.Equal(t, http.StatusCreated, p.answer("POST", "/orders", `{"item":"tea","quantity":1}`).Code)
	require.NoError(t, p.close())
	r.Eval("mnesia:sync_log()") // RabbitMQ writes down later that there is a queue
	r.Restart()
	require.Contains(t, r.Queues("name", "messages"), "audit\t1\n")
}

func awaitReady(t *testing.T, p *process) {
	t.Helper()
	servicetest.Eventually(t, func() bool {
		return p.answer("GET", "/readyz", "").Code == http.StatusOK
	})
}

// The metrics have what the alert JSONRPCReconnects is about, of all clients and servers.
func TestReconnectsInMetrics(t *testing.T) {
	t.Parallel()
	for url, transport := range map[string]string{"redis://127.0.0.1:1": "redis", "amqp://127.0.0.1:1": "amqp"} {
		b, err := newBroker(url)
		require.NoError(t, err)
		p := newProcess(b, trace.NewTracerProvider())
		require.NoError(t, web(p))
		require.NoError(t, worker(p))
		metrics := p.answer("GET", "/metrics", "").Body.String()
		for _, queue := range []string{"orders", "inventory", "audit"} {
			for _, end := range []string{"client", "server"} {
				require.Contains(t, metrics, fmt.Sprintf("jsonrpc2_conn_%s_reconnects_total{queue=%q,transport=%q} 0\n", end, queue, transport))
			}
		}
		require.NoError(t, p.close())
	}
}

// A password with a / that should be %2F, which makes a part of it the port and the vhost, gets
// into no log.
func TestPasswordInNoError(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"amqp://u:12/s3cret@host", "amqp://u:s@s3cret/s3cret@host", "amqp://u:/s3cret@host"} {
		b, err := newBroker(url)
		require.NoError(t, err)
		_, _, err = b.dial("orders", jsonrpc2.AtMostOnce)
		require.ErrorContains(t, err, "URL 1 of 1 is bad")
		require.NotContains(t, err.Error(), "s3cret")
		_, _, err = b.listen("orders", jsonrpc2.AtMostOnce)
		require.ErrorContains(t, err, "URL 1 of 1 is bad")
	}
}
