package promrpc_test

import (
	"net"
	"net/rpc"
	"reflect"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/promrpc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A pair is a client and a server of a queue, with their metrics.
type pair struct {
	rpc    *rpc.Client
	client *promrpc.ClientMetrics
	server *promrpc.ServerMetrics
	slow   *servicetest.Slow
}

// newPair serves Calc and Slow over a pipe.
func newPair(t *testing.T, queue string, metrics *promrpc.Options, opts jsonrpc2.ClientOptions) *pair {
	p := &pair{
		client: promrpc.NewClientMetrics(queue, metrics),
		server: promrpc.NewServerMetrics(queue, metrics),
		slow:   servicetest.NewSlow(),
	}
	there, here := net.Pipe()
	opts.Logger, opts.Stats, opts.Begin = servicetest.Quiet, &p.client.Stats, p.client.Begin
	p.rpc = jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), &opts)
	t.Cleanup(func() { _ = p.rpc.Close() }) // when the server has ended, so that it loses no answer
	servicetest.Serve(t, jsonrpc2.NewStreamConn(there), jsonrpc2.ServerOptions{
		Logger: servicetest.Quiet, Stats: &p.server.Stats, Begin: p.server.Begin,
	}, p.slow)
	t.Cleanup(p.slow.Open)
	return p
}

// fields returns how many fields a struct has.
func fields[S any]() int { return reflect.TypeFor[S]().NumField() }

// samples returns the values of a metric of one label by that label's values, and those of
// a histogram by count.
func samples(t *testing.T, c prometheus.Collector, name, label string) map[string]float64 {
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(c))
	families, err := registry.Gather()
	require.NoError(t, err)
	values := make(map[string]float64)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, pair := range m.GetLabel() {
				if pair.GetName() == label {
					values[pair.GetValue()] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
				}
			}
		}
	}
	return values
}
