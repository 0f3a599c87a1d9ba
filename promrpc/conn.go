package promrpc

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// NewClientConnCollector returns a Collector of what the ClientConns of a transport count.
// stats is their method Stats, or a function that adds several up:
//
//	promrpc.NewClientConnCollector("redis", "calc", conn.Stats)
//
// S is a struct. Each of its exported int64 fields that has a JSON name, such as
// "reconnects", becomes a counter, such as jsonrpc2_conn_client_reconnects_total. A field
// named in_flight, waiting or bytes, or as one of gauges says, becomes a gauge without _total.
// There must be at least one field, else the registry refuses the Collector.
func NewClientConnCollector[S any](transport, queue string, stats func() S, gauges ...string) prometheus.Collector {
	return newConnCollector("client", transport, queue, stats, gauges)
}

// NewServerConnCollector is as [NewClientConnCollector] for ServerConns. Their metrics begin
// with jsonrpc2_conn_server_. The count replies of amqpconn falls when answers turn out to be
// lost, so it is a gauge:
//
//	promrpc.NewServerConnCollector("amqp", "calc", conn.Stats, "replies")
func NewServerConnCollector[S any](transport, queue string, stats func() S, gauges ...string) prometheus.Collector {
	return newConnCollector("server", transport, queue, stats, gauges)
}

// A connCollector collects the fields of a struct.
type connCollector struct {
	stats   func() reflect.Value
	fields  []field
	invalid *prometheus.Desc // says why there is nothing to collect; nil if there is
}

// A field is one that becomes a metric.
type field struct {
	metric
	index int
}

func newConnCollector[S any](end, transport, queue string, stats func() S, gauges []string) *connCollector {
	c := &connCollector{stats: func() reflect.Value { return reflect.ValueOf(stats()) }}
	of := reflect.TypeFor[S]()
	if of.Kind() == reflect.Struct {
		c.fields = fieldsOf(of, end, prometheus.Labels{"queue": queue, "transport": transport}, gauges)
	}
	if len(c.fields) == 0 {
		c.invalid = prometheus.NewInvalidDesc(fmt.Errorf("promrpc: %v is no struct with counts: int64 fields with JSON names", of))
	}
	return c
}

func fieldsOf(of reflect.Type, end string, fixed prometheus.Labels, gauges []string) (fields []field) {
	for f := range of.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Type.Kind() != reflect.Int64 || !f.IsExported() || name == "" || name == "-" {
			continue
		}
		full := namespace + "_conn_" + end + "_" + name
		help := fmt.Sprintf("%q in the Stats of the transport's %s end.", name, end)
		newMetric := newCounter
		if name == "in_flight" || name == "waiting" || name == "bytes" || slices.Contains(gauges, name) {
			newMetric = newGauge
		} else {
			full += "_total"
		}
		fields = append(fields, field{newMetric(full, help, fixed), f.Index[0]})
	}
	return fields
}

// Describe implements prometheus.Collector.
func (c *connCollector) Describe(ch chan<- *prometheus.Desc) {
	if c.invalid != nil {
		ch <- c.invalid
	}
	for _, f := range c.fields {
		ch <- f.desc
	}
}

// Collect implements prometheus.Collector.
func (c *connCollector) Collect(ch chan<- prometheus.Metric) {
	stats := c.stats()
	for _, f := range c.fields {
		f.send(ch, float64(stats.Field(f.index).Int()))
	}
}
