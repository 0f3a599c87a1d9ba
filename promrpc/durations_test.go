package promrpc_test

import (
	"fmt"
	"net/rpc"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/promrpc"
)

// The methods that come late share one name. Those before keep theirs.
func TestMaxMethods(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		opts *promrpc.Options
		want int
	}{{nil, 100}, {&promrpc.Options{MaxMethods: 3}, 3}} {
		m := promrpc.NewServerMetrics("calc", test.opts)
		for range 2 {
			for i := range 150 {
				_, end, _ := m.Begin(t.Context(), &jsonrpc2.CallInfo{Method: fmt.Sprint("Calc.M", i), ID: "1"}, nil)
				end(nil)
			}
		}
		got := samples(t, m, serverDuration, "method")
		require.Len(t, got, test.want+1)
		require.EqualValues(t, 2, got["Calc.M0"])
		require.EqualValues(t, 2, got[fmt.Sprint("Calc.M", test.want-1)])
		require.EqualValues(t, 2*(150-test.want), got["other"])
	}
}

// A name that is no UTF-8 would make each scrape fail.
func TestMethodIsNoText(t *testing.T) {
	t.Parallel()
	m := promrpc.NewClientMetrics("calc", nil)
	_, end, _ := m.Begin(t.Context(), &jsonrpc2.CallInfo{Method: "Calc.\xff", ID: "1"}, nil)
	end(nil)
	require.Equal(t, map[string]float64{"Calc.\uFFFD": 1}, samples(t, m, clientDuration, "method"))
}

// What runs is told by method if Begin knows it, and gave it a name: strangers send names
// that nobody serves.
func TestRunningMethods(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		metrics promrpc.Options
		want    string
	}{
		"known":   {promrpc.Options{}, "Slow.Wait"},
		"unknown": {promrpc.Options{MaxMethods: 1}, "other"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "calc", &test.metrics, jsonrpc2.ClientOptions{})
			servicetest.RequireAdds(t, p.rpc)
			done := make(chan *rpc.Call, 3)
			for range 3 {
				p.rpc.Go("Slow.Wait", 1, new(int), done)
			}
			p.slow.RequireRunning(t, 3)
			require.Equal(t, map[string]float64{test.want: 3}, samples(t, p.server, "jsonrpc2_server_running_requests", "method"))
			require.Len(t, samples(t, p.server, "jsonrpc2_server_running_since_timestamp_seconds", "method"), 1)
			p.slow.Open()
			for range 3 {
				<-done
			}
			require.Empty(t, samples(t, p.server, "jsonrpc2_server_running_requests", "method"))
		})
	}
}

// Buckets are the program's, and native ones come beside them.
func TestBuckets(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		opts    promrpc.Options
		buckets int
		native  bool
	}{
		"defaults": {promrpc.Options{}, 15, false},
		"own":      {promrpc.Options{Buckets: []float64{1, .1, 1}}, 2, false},
		"native":   {promrpc.Options{Native: true}, 15, true},
	} {
		t.Run(name, func(t *testing.T) {
			m := promrpc.NewClientMetrics("calc", &test.opts)
			_, end, _ := m.Begin(t.Context(), &jsonrpc2.CallInfo{Method: "Calc.Add"}, nil)
			end(nil)
			registry := prometheus.NewRegistry()
			require.NoError(t, registry.Register(m))
			families, err := registry.Gather()
			require.NoError(t, err)
			for _, family := range families {
				if family.GetName() == clientDuration {
					h := family.GetMetric()[0].GetHistogram()
					require.Len(t, h.GetBucket(), test.buckets)
					require.Equal(t, test.native, len(h.GetPositiveSpan()) > 0)
				}
			}
		})
	}
}

func BenchmarkBegin(b *testing.B) {
	call := &jsonrpc2.CallInfo{Method: "Calc.Add", ID: `"x-1"`}
	for name, begin := range map[string]jsonrpc2.BeginFunc{
		"client":            promrpc.NewClientMetrics("calc", nil).Begin,
		"server":            promrpc.NewServerMetrics("calc", nil).Begin,
		"server and native": promrpc.NewServerMetrics("calc", &promrpc.Options{Native: true}).Begin,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, end, _ := begin(b.Context(), call, nil)
				end(nil)
			}
		})
	}
}

func BenchmarkCollect(b *testing.B) {
	m := promrpc.NewServerMetrics("calc", nil)
	for i := range 10 {
		_, end, _ := m.Begin(b.Context(), &jsonrpc2.CallInfo{Method: fmt.Sprint("Calc.M", i), ID: "1"}, nil)
		end(nil)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(m)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = registry.Gather()
	}
}
