package jsonrpc2

import (
	"context"
	"sync"
)

// A serving is what the codecs of one server share. Serve has one codec, ServeListener has
// one for each connection.
type serving struct {
	ctx    context.Context // its end begins the drain
	opts   ServerOptions
	log    *dropLog
	stats  *ServerStats
	places chan struct{} // one element for each place taken: by a running call, or by a codec for its next
	grace  *grace
	watch  watch

	calls     sync.Pool // of *serverCall
	scratches sync.Pool // of *scratch
	encoders  sync.Pool // of *encoder

	codecsMu sync.Mutex // protects codecs; a codec's mu may be locked after it
	codecs   map[*serverCodec]struct{}
}

// newServing returns a serving without codecs. Its owner ends it by stop, and then log.close:
// the only codec in its Close, or ServeListener.
func newServing(ctx context.Context, opts *ServerOptions) *serving {
	if opts == nil {
		opts = &ServerOptions{}
	}
	s := &serving{ctx: ctx, opts: *opts, codecs: make(map[*serverCodec]struct{})}
	s.opts.MaxInFlight = orDefault(opts.MaxInFlight, DefaultMaxInFlight)
	s.opts.MaxMessageSize = orDefault(opts.MaxMessageSize, DefaultMaxMessageSize)
	s.opts.MaxBatch = orDefault(opts.MaxBatch, defaultMaxBatch)
	s.opts.MaxDepth = depthLimit(opts.MaxDepth)
	if opts.Grace == 0 {
		s.opts.Grace = defaultGrace
	}
	s.log = newDropLog(opts.Logger)
	s.stats = opts.Stats
	if s.stats == nil {
		s.stats = new(ServerStats)
	}
	s.places = make(chan struct{}, s.opts.MaxInFlight)
	s.calls.New = func() any { return new(serverCall) }
	s.scratches.New = func() any { return s.newScratch() }
	s.encoders.New = func() any { return newEncoder() }
	s.stats.enter(s)
	s.grace = newGrace(ctx, s.opts.Grace, s.logDrain) // last: if ctx is done, logDrain may run at once
	return s
}

// stop ends the contexts of the calls and the watch. It is called when no call runs any more.
func (s *serving) stop() {
	s.grace.close()
	s.stopWatch()
	s.stats.leave(s)
}

func (s *serving) enter(c *serverCodec) {
	s.codecsMu.Lock()
	defer s.codecsMu.Unlock()
	s.codecs[c] = struct{}{}
}

func (s *serving) leave(c *serverCodec) {
	s.codecsMu.Lock()
	defer s.codecsMu.Unlock()
	delete(s.codecs, c)
}

// eachCodec calls do for each codec, with codecsMu and the codec's mu locked.
func (s *serving) eachCodec(do func(*serverCodec)) {
	s.codecsMu.Lock()
	defer s.codecsMu.Unlock()
	for c := range s.codecs {
		c.mu.Lock()
		do(c)
		c.mu.Unlock()
	}
}
