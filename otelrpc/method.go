package otelrpc

import (
	"slices"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

const (
	maxMethods  = 1000 // that are told apart in measurements
	maxFailures = 50   // of each of them
)

// methods are the methods that an end has seen, so that what is the same for all calls of
// one is made once. They are bounded, and with them the attributes of measurements: a
// client may get the names of methods, and the codes of errors, from strangers.
type methods struct {
	kind  trace.SpanKind
	fixed []attribute.KeyValue
	other *durations // of the methods beyond maxMethods

	mu     sync.RWMutex // protects following
	byName map[string]*method
}

// A method has what is the same for all its calls.
type method struct {
	start     []trace.SpanStartOption
	durations *durations
}

func newMethods(kind trace.SpanKind, opts *Options) *methods {
	fixed := append([]attribute.KeyValue{semconv.RPCSystemNameJSONRPC}, opts.Attributes...)
	if opts.System != "" {
		fixed = append(fixed, semconv.MessagingSystemKey.String(opts.System))
	}
	if opts.Destination != "" {
		fixed = append(fixed, semconv.MessagingDestinationName(opts.Destination))
	}
	return &methods{kind: kind, fixed: fixed, other: newDurations(fixed, "_OTHER"), byName: make(map[string]*method)}
}

// get returns the method of a name.
func (m *methods) get(name string) *method {
	m.mu.RLock()
	found := m.byName[name]
	m.mu.RUnlock()
	if found == nil {
		found = m.add(name)
	}
	return found
}

func (m *methods) add(name string) *method {
	attributes := append(slices.Clip(m.fixed), semconv.RPCMethod(name), semconv.JSONRPCProtocolVersion("2.0"))
	added := &method{
		start:     []trace.SpanStartOption{trace.WithSpanKind(m.kind), trace.WithAttributes(attributes...)},
		durations: m.other,
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if found := m.byName[name]; found != nil {
		return found
	}
	if len(m.byName) < maxMethods {
		added.durations = newDurations(m.fixed, name)
		m.byName[name] = added
	}
	return added
}

// durations have the options of the measurements of a method.
type durations struct {
	attributes []attribute.KeyValue
	success    []metric.RecordOption

	mu       sync.RWMutex // protects following
	failures map[failureKey][]metric.RecordOption
}

func newDurations(fixed []attribute.KeyValue, method string) *durations {
	attributes := append(slices.Clip(fixed), semconv.RPCMethod(method))
	return &durations{
		attributes: slices.Clip(attributes),
		success:    recordOptions(attributes),
		failures:   make(map[failureKey][]metric.RecordOption),
	}
}

func recordOptions(attributes []attribute.KeyValue) []metric.RecordOption {
	return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attributes...))}
}

// options returns the options for a call that ended with a failure, or with none.
func (d *durations) options(key failureKey) []metric.RecordOption {
	if key == (failureKey{}) {
		return d.success
	}
	d.mu.RLock()
	found := d.failures[key]
	d.mu.RUnlock()
	if found == nil {
		found = d.add(key)
	}
	return found
}

func (d *durations) add(key failureKey) []metric.RecordOption {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.failures) >= maxFailures {
		key = otherFailure
	}
	if d.failures[key] == nil {
		d.failures[key] = recordOptions(append(d.attributes, key.attributes()...))
	}
	return d.failures[key]
}
