package promrpc

import (
	"slices"

	"github.com/micromessaging/jsonrpc2"
)

const (
	defaultMaxMethods = 100

	// otherMethod is the label of the methods beyond MaxMethods, and of the names that
	// clients send and a server does not know.
	otherMethod = "other"
)

// defaultBuckets reach from a call within one machine to the default Timeout of a client.
var defaultBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Options are for metrics of either end. nil stands for the zero value.
type Options struct {
	// Buckets are the upper bounds of the histogram's buckets, in seconds; 15 from 0.5 ms
	// to 30 s if empty.
	Buckets []float64

	// Native adds the buckets of a native histogram, each at most a tenth wider than the
	// one before. A Prometheus that scrapes native histograms takes them in place of
	// Buckets.
	Native bool

	// MaxMethods limits the values of the label method; 100 if 0. The methods that come
	// later are "other".
	MaxMethods int

	// MaxInFlight is that of the ServerOptions, for jsonrpc2_server_places; 256 if 0, as
	// there. Where several servers share one ServerMetrics, it is the sum of theirs.
	// ClientMetrics ignore it.
	MaxInFlight int
}

// withDefaults returns a copy in which no default is left out.
func (o *Options) withDefaults() Options {
	var opts Options
	if o != nil {
		opts = *o
	}
	if len(opts.Buckets) == 0 {
		opts.Buckets = defaultBuckets
	}
	opts.Buckets = slices.Compact(slices.Sorted(slices.Values(opts.Buckets))) // a histogram panics at any other
	if opts.MaxMethods <= 0 {
		opts.MaxMethods = defaultMaxMethods
	}
	if opts.MaxInFlight <= 0 {
		opts.MaxInFlight = jsonrpc2.DefaultMaxInFlight
	}
	return opts
}
