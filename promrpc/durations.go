package promrpc

import (
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/micromessaging/jsonrpc2"
)

const (
	nativeBucketFactor = 1.1
	maxNativeBuckets   = 160
	minNativeReset     = time.Hour
)

// durations measure requests by method and outcome.
type durations struct {
	histogram *prometheus.HistogramVec
	max       int // how many methods have names of their own

	mu     sync.RWMutex      // protects following
	labels map[string]string // of the methods that have one of their own
}

func newDurations(name, help string, fixed prometheus.Labels, opts Options) *durations {
	h := prometheus.HistogramOpts{Name: name, Help: help, ConstLabels: fixed, Buckets: opts.Buckets}
	if opts.Native {
		h.NativeHistogramBucketFactor = nativeBucketFactor
		h.NativeHistogramMaxBucketNumber = maxNativeBuckets
		h.NativeHistogramMinResetDuration = minNativeReset
	}
	return &durations{
		histogram: prometheus.NewHistogramVec(h, []string{"method", "outcome"}),
		max:       opts.MaxMethods,
		labels:    make(map[string]string),
	}
}

// begin starts to measure a request. It returns the function that ends the measurement, for
// which outcomeOf returns the value of the label outcome.
func (d *durations) begin(call *jsonrpc2.CallInfo, outcomeOf func(err error, notification bool) string) func(error) {
	method, notification, start := d.admit(call.Method), call.ID == "", time.Now()
	return func(err error) {
		took := time.Since(start).Seconds()
		d.histogram.WithLabelValues(method, outcomeOf(err, notification)).Observe(took)
	}
}

// admit returns the label of a method. It gives a new method its own while there are any
// left.
func (d *durations) admit(method string) string {
	if label, ok := d.lookUp(method); ok {
		return label
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	label, ok := d.labels[method]
	switch {
	case ok:
	case len(d.labels) < d.max:
		label = strings.ToValidUTF8(method, "\uFFFD") // Prometheus takes no other
		d.labels[method] = label
	default:
		label = otherMethod
	}
	return label
}

// lookUp returns the label of a method and whether it is its own.
func (d *durations) lookUp(method string) (label string, own bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if label, own = d.labels[method]; !own {
		label = otherMethod
	}
	return label, own
}
