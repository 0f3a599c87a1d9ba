package promrpc

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/micromessaging/jsonrpc2"
)

// ServerMetrics are the metrics of a server, or of all servers of one queue in a program.
// They are a prometheus.Collector. Any goroutine may call the methods.
type ServerMetrics struct {
	// Stats is for ServerOptions.Stats, which takes its address.
	Stats jsonrpc2.ServerStats

	begun, ended, inFlight, places metric
	discarded, lostReplies         metric
	running, since                 metric
	durations                      *durations
	maxInFlight                    int
}

// NewServerMetrics returns the metrics of servers of queue. One registry takes those of each
// queue once.
func NewServerMetrics(queue string, opts *Options) *ServerMetrics {
	const name = namespace + "_server_"
	fixed := prometheus.Labels{"queue": queue}
	o := opts.withDefaults()
	return &ServerMetrics{
		begun:       newCounter(name+"requests_begun_total", "Calls and notifications that were read.", fixed, "kind"),
		ended:       newCounter(name+"requests_ended_total", "Calls and notifications that have ended, by how they have.", fixed, "outcome"),
		inFlight:    newGauge(name+"requests_in_flight", "Calls and notifications that run.", fixed),
		places:      newGauge(name+"places", "How many calls and notifications may run at once.", fixed),
		discarded:   newCounter(name+"discarded_total", "What arrived and was no call and no notification.", fixed, "reason"),
		lostReplies: newCounter(name+"lost_replies_total", "Answers that could not be delivered, and requests that could not be given back.", fixed),
		running:     newGauge(name+"running_requests", "Calls and notifications that run, by method.", fixed, "method"),
		since:       newGauge(name+"running_since_timestamp_seconds", "When the oldest that runs of a method began.", fixed, "method"),
		durations:   newDurations(name+"request_duration_seconds", "How long methods ran, with the encoding of their results.", fixed, o),
		maxInFlight: o.MaxInFlight,
	}
}

// Begin is a jsonrpc2.BeginFunc, for ServerOptions.Begin: it measures how long methods run.
func (m *ServerMetrics) Begin(_ context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
	return nil, m.durations.begin(call, serverOutcome), nil
}

// Describe implements prometheus.Collector.
func (m *ServerMetrics) Describe(ch chan<- *prometheus.Desc) {
	for _, each := range []metric{m.begun, m.ended, m.inFlight, m.places, m.discarded, m.lostReplies, m.running, m.since} {
		ch <- each.desc
	}
	m.durations.histogram.Describe(ch)
}

// Collect implements prometheus.Collector. All counts are of one Snapshot, so they add up.
func (m *ServerMetrics) Collect(ch chan<- prometheus.Metric) {
	n := m.Stats.Snapshot()
	m.begun.sendAll(ch, []count{{"call", n.Calls}, {"notification", n.Notifications}})
	m.ended.sendAll(ch, []count{{answered, n.Answered}, {failed, n.Errors}, {done, n.Done}, {expired, n.Expired}})
	m.inFlight.send(ch, float64(n.InFlight))
	m.places.send(ch, float64(m.maxInFlight))
	m.discarded.sendAll(ch, []count{{"invalid", n.Invalid}, {"dropped", n.Dropped}})
	m.lostReplies.send(ch, float64(n.LostReplies))
	for method, r := range m.byLabel(m.Stats.Running()) {
		m.running.send(ch, float64(r.Calls), method)
		m.since.send(ch, float64(r.Since.UnixNano())/float64(time.Second), method)
	}
	m.durations.histogram.Collect(ch)
}

// byLabel returns what runs, by the label of its method. Only a method that Begin was called
// for has a label of its own. Any other name may be a stranger's: its request counts as
// running until it is refused.
func (m *ServerMetrics) byLabel(all []jsonrpc2.Running) map[string]jsonrpc2.Running {
	byLabel := make(map[string]jsonrpc2.Running, len(all))
	for _, r := range all { // the oldest first
		label, _ := m.durations.lookUp(r.Method)
		sum, ok := byLabel[label]
		if !ok {
			sum.Since = r.Since
		}
		sum.Calls += r.Calls
		byLabel[label] = sum
	}
	return byLabel
}
