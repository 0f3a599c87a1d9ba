package promrpc

import "github.com/prometheus/client_golang/prometheus"

// namespace begins the names of all metrics.
const namespace = "jsonrpc2"

// A metric is a counter or a gauge whose value is taken from stats in each Collect.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
}

func newCounter(name, help string, fixed prometheus.Labels, labels ...string) metric {
	return metric{prometheus.NewDesc(name, help, labels, fixed), prometheus.CounterValue}
}

func newGauge(name, help string, fixed prometheus.Labels, labels ...string) metric {
	return metric{prometheus.NewDesc(name, help, labels, fixed), prometheus.GaugeValue}
}

// send sends a value. labels are the values of the labels that newCounter or newGauge got.
func (m metric) send(ch chan<- prometheus.Metric, value float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
}

// A count is a value of a metric whose only label is not fixed.
type count struct {
	label string
	value int64
}

func (m metric) sendAll(ch chan<- prometheus.Metric, counts []count) {
	for _, c := range counts {
		m.send(ch, float64(c.value), c.label)
	}
}
