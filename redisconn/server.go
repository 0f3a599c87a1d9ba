package redisconn

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A ServerConn serves a queue. It is made by Listen, and given to one codec. It has
// two goroutines, which the first ReadRequest starts and Close awaits:
//
//	fetch     wait for free places, pop as many requests
//	  ReadRequest   on the codec's goroutine: scan, find the reply list
//	  Reply         on any: hand the answer to the replier
//	replier   push all answers that wait, free their places
//
// With a lease it has two more: one renews it, the other ends fetch's waits.
type ServerConn struct {
	queue    string
	opts     ListenOptions
	own      string // prefix of our own keys
	wakeList string // a push onto it ends a blocked pop
	opened   atomic.Bool
	lost     func(body []byte, why error) // the codec's, from Open on

	popper  popper
	lease   *lease // nil: at most once
	places  *link.Places
	fetched chan struct{} // holds one if there may be a request
	read    chan struct{} // holds one if all that was taken may be read
	state   *link.State
	replier *replier

	// ReadRequest's own.
	body   []byte
	header jsonrpc2.Header // of body
	clock  *clock
	asker  *link.Asker // of the clock

	start    sync.Once   // runs the goroutines, unless closed first
	unwatch  func() bool // ends the watch of ReadRequest's context
	closing  sync.Once
	closed   chan struct{}
	closeErr error
	ended    chan struct{} // closed when the fetcher has ended
	fetching sync.WaitGroup
	beating  sync.WaitGroup
	endBeat  context.CancelFunc

	mu       sync.Mutex    // protects following
	popping  bool          // the fetcher may be blocked
	taken    []delivery    // oldest first, not read yet
	suspects []delivery    // the same of suspects
	trying   bool          // a suspect runs
	buried   []delivery    // to be answered with an error
	fatal    error         // that ended the fetcher
	drained  bool          // nothing is taken any more
	stop     chan struct{} // closed when drained

	requests, noAddress, refused atomic.Int64
}

// tryPause is between two tries to note that a suspect is started.
const tryPause = 50 * time.Millisecond

func newServerConn(rdb redis.UniversalClient, queue string, opts ListenOptions) *ServerConn {
	if opts.Prefetch == 0 {
		opts.Prefetch = DefaultPrefetch
	}
	if opts.ReplyTTL == 0 {
		opts.ReplyTTL = DefaultReplyTTL
	}
	if opts.Lease == 0 {
		opts.Lease = DefaultLease
	}
	if opts.MaxAttempts == 0 {
		opts.MaxAttempts = DefaultMaxAttempts
	}
	s := &ServerConn{
		queue:   queue,
		opts:    opts,
		own:     ownPrefix(queue),
		lost:    func([]byte, error) {},
		popper:  popper{rdb: rdb, newest: true},
		fetched: make(chan struct{}, 1),
		read:    make(chan struct{}, 1),
		state:   newState(rdb, opts.Logger, queue, "server"),
		stop:    make(chan struct{}),
		ended:   make(chan struct{}),
		closed:  make(chan struct{}),
		asker:   link.NewAsker(),
	}
	s.clock = &clock{ask: s.brokerTime, state: s.state}
	s.wakeList = s.own + "wake:" + link.NewName()
	if opts.Guarantee == jsonrpc2.AtLeastOnce {
		s.lease = newLease(rdb, queue, opts, s.state, s.stop)
	}
	s.replier = newReplier(rdb, s)
	return s
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
	s.unwatch = context.AfterFunc(ctx, s.drain) // also while the codec does not read
	s.places = link.NewPlaces(s.opts.Prefetch)
	s.fetching.Go(s.fetch)
	s.replier.start()
	if s.lease != nil {
		s.fetching.Go(func() { s.lease.interrupt(s.ended) })
		var ctx context.Context
		ctx, s.endBeat = context.WithCancel(context.Background())
		s.beating.Go(func() { s.lease.beat(ctx, s.bury) })
	}
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
		case ok && d.isSuspect() && !s.try(ctx, d):
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
	case len(s.suspects) > 0 && !s.trying:
		d = shift(&s.suspects)
		s.trying = true
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

// try notes that a suspect is started, and reports whether it may be.
func (s *ServerConn) try(ctx context.Context, d delivery) bool {
	held, err := s.lease.begin(d)
	if held && err == nil && ctx.Err() == nil {
		return true
	}
	if err != nil {
		impaired(s.state, s.replier.rdb, "taking requests", err)
		link.Wait(tryPause, ctx.Done())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trying = false
	switch {
	case !held && err == nil:
		s.lease.lost.Add(1)
		s.lease.settled(d.token)
		s.places.Free(1)
	case s.drained:
		s.replier.giveBack([]delivery{d})
	default:
		s.suspects = append([]delivery{d}, s.suspects...)
	}
	return false
}

// tried lets the next suspect be started.
func (s *ServerConn) tried() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trying = false
	link.Signal(s.fetched)
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
	return impairment(s.state, s.replier.rdb, s.queue)
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
		s.leave(len(unsent) == 0)
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
		case p.kind == pushBack && s.lease == nil: // else it is taken over
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
		s.queue, addressOf(s.replier.rdb), lost, cause)
}

// leave ends the lease, where one was begun.
func (s *ServerConn) leave(allSent bool) {
	if s.endBeat == nil {
		return
	}
	s.endBeat()
	s.beating.Wait()
	if s.fatal != nil { // there is none
		return
	}
	err := errUnsent
	if allSent {
		err = s.lease.leave()
	}
	if err != nil {
		s.state.Logger.Error("lease not ended: what is held is taken over when it runs out",
			slog.Duration("lease", s.opts.Lease), slog.Any("error", err))
	}
}

// Stats returns what the ServerConn has done so far.
func (s *ServerConn) Stats() Stats {
	stats := Stats{
		Requests:    s.requests.Load(),
		Replies:     s.replier.replies.Load(),
		Reconnects:  s.state.Recoveries.Load(),
		GivenBack:   s.replier.givenBack.Load(),
		Expired:     s.replier.expired.Load(),
		NoAddress:   s.noAddress.Load(),
		Refused:     s.refused.Load(),
		Undelivered: s.replier.undelivered.Load(),
	}
	if s.lease != nil {
		stats.TakenOver = s.lease.takenOver.Load()
		stats.Dead = s.lease.dead.Load()
		stats.LeaseLost = s.lease.lost.Load()
	}
	return stats
}
