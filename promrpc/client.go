package promrpc

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/micromessaging/jsonrpc2"
)

// ClientMetrics are the metrics of a client, or of all clients of one queue. They are a
// prometheus.Collector. Any goroutine may call the methods.
type ClientMetrics struct {
	// Stats is for ClientOptions.Stats, which takes its address.
	Stats jsonrpc2.ClientStats

	begun, ended, inFlight, discarded metric
	durations                         *durations
}

// NewClientMetrics returns the metrics of clients that call over queue. One registry takes
// those of each queue once.
func NewClientMetrics(queue string, opts *Options) *ClientMetrics {
	const name = namespace + "_client_"
	fixed := prometheus.Labels{"queue": queue}
	return &ClientMetrics{
		begun:     newCounter(name+"requests_begun_total", "Calls and notifications that have begun.", fixed, "kind"),
		ended:     newCounter(name+"requests_ended_total", "Calls and notifications that have ended, by how they have.", fixed, "outcome"),
		inFlight:  newGauge(name+"requests_in_flight", "Calls and notifications that have begun and not ended.", fixed),
		discarded: newCounter(name+"discarded_total", "What arrived and was the answer to nothing that waits.", fixed, "reason"),
		durations: newDurations(name+"request_duration_seconds", "How long calls and notifications took, until their callers knew.", fixed, opts.withDefaults()),
	}
}

// Begin is a jsonrpc2.BeginFunc, for ClientOptions.Begin: it measures how long requests take.
func (m *ClientMetrics) Begin(_ context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
	return nil, m.durations.begin(call, clientOutcome), nil
}

// Describe implements prometheus.Collector.
func (m *ClientMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, each := range []metric{m.begun, m.ended, m.inFlight, m.discarded} {
		ch <- each.desc
	}
	m.durations.histogram.Describe(ch)
}

// Collect implements prometheus.Collector. All counts are of one Snapshot, so they add up.
func (m *ClientMetrics) Collect(ch chan<- prometheus.Metric) {
	n := m.Stats.Snapshot()
	m.begun.sendAll(ch, []count{{"call", n.Calls}, {"notification", n.Notifications}})
	m.ended.sendAll(ch, []count{
		{answered, n.Answered},
		{failed, n.Errors},
		{sent, n.Sent},
		{timeout, n.Timeouts},
		{canceled, n.Canceled},
		{unsent, n.Unsent},
		{replyLost, n.RepliesLost},
		{unconfirmed, n.Unconfirmed},
		{badReply, n.BadReplies},
		{replyTooLarge, n.RepliesTooLarge},
		{closed, n.Closed},
	})
	m.inFlight.send(ch, float64(n.InFlight))
	m.discarded.sendAll(ch, []count{{"invalid", n.Invalid}, {"dropped", n.Dropped}})
	m.durations.histogram.Collect(ch)
}
