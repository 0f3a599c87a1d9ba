package redisconn

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A ServerConn serves a queue. It is made by Listen, and given to one codec. It has
// these goroutines, which the first ReadRequest starts and Close awaits:
//
//	fetch     wait for free places, pop as many requests
//	  ReadRequest   on the codec's goroutine: scan, find the reply list
//	  Reply         on any: hand the answer to the replier
//	replier   push all answers that wait, free their places
//
// A third ends the waits of fetch in a drain. At least once there are three more, see
// world.
type ServerConn struct {
	*shared
	opened  atomic.Bool
	source  source
	fetched chan struct{} // holds one if there may be a request
	read    chan struct{} // holds one if all that was taken may be read
	replier *replier

	// ReadRequest's own.
	body   []byte
	header jsonrpc2.Header // of body
	clock  *clock
	asker  *link.Asker // of the clock

	start    sync.Once   // runs the goroutines, unless closed first
	unwatch  func() bool // ends the watch of ReadRequest's context
	closing  sync.Once
	closeErr error
	ended    chan struct{} // closed when the fetcher has ended
	fetching sync.WaitGroup

	mu      sync.Mutex    // protects following
	taken   []delivery    // oldest first, not read yet
	buried  []delivery    // to be answered with an error
	fatal   error         // that ended the fetcher
	drained bool          // nothing is taken any more
	stop    chan struct{} // closed when drained
}

func newServerConn(rdb redis.UniversalClient, queue string, opts ListenOptions) *ServerConn {
	s := &ServerConn{
		shared:  newShared(rdb, queue, withDefaults(opts)),
		fetched: make(chan struct{}, 1),
		read:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		ended:   make(chan struct{}),
		asker:   link.NewAsker(),
	}
	s.clock = &clock{ask: s.brokerTime, state: s.state}
	if opts.Guarantee == jsonrpc2.AtLeastOnce {
		s.source = newHeld(s.shared, s.bury)
		s.replier = newReplier(s.shared, s.source)
		return s
	}
	p := newPopped(s.shared)
	s.source, s.replier = p, newReplier(s.shared, p)
	p.put = s.replier.put
	return s
}

func withDefaults(opts ListenOptions) ListenOptions {
	opts.Prefetch = cmp.Or(opts.Prefetch, DefaultPrefetch)
	opts.ReplyTTL = cmp.Or(opts.ReplyTTL, DefaultReplyTTL)
	opts.Lease = cmp.Or(opts.Lease, DefaultLease)
	opts.MaxAttempts = cmp.Or(opts.MaxAttempts, DefaultMaxAttempts)
	return opts
}

// Open implements jsonrpc2.ServerConn. No more is fetched than can be started.
func (s *ServerConn) Open(settings jsonrpc2.Settings) error {
	if s.opened.Swap(true) {
		return jsonrpc2.ErrOpened
	}
	s.lost = settings.Lost
	s.opts.Prefetch = min(s.opts.Prefetch, settings.InFlight)
	return nil
}

func (s *ServerConn) run(ctx context.Context) {
	s.places = link.NewPlaces(s.opts.Prefetch)
	s.source.start()
	s.replier.start()
	s.fetching.Go(s.fetch)
	s.fetching.Go(func() {
		<-s.stop
		s.source.stop(s.ended)
	})
	s.unwatch = context.AfterFunc(ctx, s.drain) // also while the codec does not read
}

// ReadRequest implements jsonrpc2.ServerConn.
func (s *ServerConn) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	s.start.Do(func() { s.run(ctx) })
	if cap(s.body) > maxKept {
		s.body, s.header = nil, jsonrpc2.Header{}
	}
	for {
		if err := ctx.Err(); err != nil {
			s.drain()
			return jsonrpc2.Delivery{}, err
		}
		d, ok, err := s.next()
		switch {
		case err != nil:
			return jsonrpc2.Delivery{}, err
		case ok && !s.begin(d):
			continue
		case ok:
			return s.deliver(d), nil
		}
		select {
		case <-s.fetched:
		case <-ctx.Done():
		case <-s.closed:
			return jsonrpc2.Delivery{}, io.EOF
		}
	}
}

// next takes the next request that may be returned.
func (s *ServerConn) next() (d delivery, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.fatal != nil:
		return d, false, s.fatal
	case s.drained:
		return d, false, nil
	case len(s.buried) > 0:
		d = shift(&s.buried)
	case len(s.taken) > 0:
		d = shift(&s.taken)
		if len(s.taken) == 0 {
			link.Signal(s.read)
		}
	default:
		return d, false, nil
	}
	return d, true, nil
}

// shift takes the first of the deliveries, which are then without its body in
// memory, too.
func shift(deliveries *[]delivery) delivery {
	all := *deliveries
	first := all[0]
	all[0] = delivery{}
	*deliveries = all[1:]
	return first
}

// begin reports whether a request may be started. One that may not goes back in a
// drain; else others have taken it over.
func (s *ServerConn) begin(d delivery) bool {
	if s.source.begin(d) {
		return true
	}
	if s.isDrained() {
		s.source.giveBack([]delivery{d}) // or leave does
		return false
	}
	s.leaseLost.Add(1)
	s.source.settled(push{held: d.held})
	s.places.Free(1)
	return false
}

// Err implements jsonrpc2.ServerConn.
func (s *ServerConn) Err() error {
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fatal != nil {
		return s.fatal
	}
	return impairment(s.state, s.rdb, s.queue)
}

// Close implements jsonrpc2.ServerConn. It takes as long as that of a ClientConn.
func (s *ServerConn) Close() error {
	s.closing.Do(func() {
		s.start.Do(func() { s.unwatch = func() bool { return true } }) // or never
		s.unwatch()
		close(s.closed)
		s.drain()
		s.asker.Close()
		s.fetching.Wait()
		unsent := s.replier.close()
		s.closeErr = s.loseUnsent(unsent)
		s.leave()
	})
	return s.closeErr
}

// loseUnsent tells the codec what is lost with the pushes that are left. It returns an
// error if something is.
func (s *ServerConn) loseUnsent(unsent []push) error {
	lost := 0
	cause := closeCause(s.state)
	for _, p := range unsent {
		switch {
		case p.kind == pushReply:
			s.lost(p.body, fmt.Errorf("redisconn: answer to %q not known to be sent when closed: %w", p.list, cause))
		case p.kind == pushBack:
			s.lost(p.body, fmt.Errorf("redisconn: request not given back when closed: %w", cause))
		default:
			continue
		}
		lost++
	}
	if lost == 0 {
		return nil
	}
	return fmt.Errorf("redisconn: queue %q at %s: messages not known to be sent when closed: %d: %w",
		s.queue, addressOf(s.rdb), lost, cause)
}

// leave leaves the source.
func (s *ServerConn) leave() {
	if err := s.source.leave(); err != nil {
		s.state.Logger.Error("lease not ended: what is held is taken over when it runs out",
			slog.Duration("lease", s.opts.Lease), slog.Any("error", err))
	}
}

// Stats returns what the ServerConn has done so far.
func (s *ServerConn) Stats() Stats { return s.stats(s.state.Recoveries.Load()) }
