package main

import (
	"net/http"
	"testing"

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
	b.listen = func(queue string, guarantee jsonrpc2.Guarantee) (jsonrpc2.ServerConn, error) {
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
