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

// A ServerConn serves a queue. Listen makes it; give it to one codec, as jsonrpc2.Serve
// does. The codec calls and closes it. Err and Stats are for any goroutine. A request passes:
//
//	fetch         on its own goroutine: wait for free places, take as many requests
//	ReadRequest   on the codec's goroutine: scan a request, find its reply list
//	Reply         on any goroutine: hand the answer to the replier
//	lane          on its own goroutine, one for each Redis node: push all answers that wait,
//	              free their places
//
// There are Prefetch places. Other goroutines announce the server, try failed answers again,
// end the wait of fetch in a drain, look at reply lists before they expire and, with
// AtLeastOnce, beat and take over requests. The first ReadRequest starts the ServerConn's
// goroutines, and Close awaits them.
type ServerConn struct {
	*shared
	running   atomic.Bool // from the first ReadRequest on
	opened    atomic.Bool
	source    source
	fetcher   *fetcher
	replier   *replier
	deliverer *deliverer // ReadRequest's own
	announcer *announcer

	start      sync.Once   // runs the goroutines, unless Close comes first
	unwatch    func() bool // after it the end of ReadRequest's context drains nothing
	fetching   sync.WaitGroup
	announcing sync.WaitGroup
	closing    sync.Once
	closeErr   error
}

func newServerConn(rdb redis.UniversalClient, queue string, opts ListenOptions) *ServerConn {
	s := &ServerConn{shared: newShared(rdb, queue, withDefaults(opts))}
	s.fetcher = newFetcher(s.shared)
	if opts.Guarantee == jsonrpc2.AtLeastOnce {
		s.source = newHeld(s.shared, s.fetcher.bury)
		s.replier = newReplier(s.shared, s.source)
	} else {
		p := newPopped(s.shared)
		s.source, s.replier = p, newReplier(s.shared, p)
		p.put = s.replier.put
	}
	s.fetcher.source = s.source
	s.announcer = newAnnouncer(s.shared, s.fetcher.draining)
	s.deliverer = newDeliverer(s.shared, s.replier)
	return s
}

func withDefaults(opts ListenOptions) ListenOptions {
	opts.Prefetch = cmp.Or(opts.Prefetch, defaultPrefetch)
	opts.ReplyTTL = cmp.Or(opts.ReplyTTL, defaultReplyTTL)
	opts.Lease = cmp.Or(opts.Lease, defaultLease)
	opts.MaxAttempts = cmp.Or(opts.MaxAttempts, defaultMaxAttempts)
	opts.MaxDead = cmp.Or(opts.MaxDead, defaultMaxDead)
	return opts
}

// Open implements jsonrpc2.ServerConn. It lowers Prefetch to settings.InFlight.
func (s *ServerConn) Open(settings jsonrpc2.Settings) error {
	if s.opened.Swap(true) {
		return jsonrpc2.ErrOpened
	}
	s.tellCodec = settings.Lost
	s.opts.Prefetch = min(s.opts.Prefetch, settings.InFlight)
	return nil
}

// run starts the goroutines. The end of ctx, the context of the first ReadRequest, drains the
// server.
func (s *ServerConn) run(ctx context.Context) {
	s.places = link.NewPlaces(s.opts.Prefetch)
	s.running.Store(true)
	s.source.start()
	s.replier.start()
	s.fetching.Go(s.fetcher.fetch)
	s.announcing.Go(s.announcer.run)
	s.fetching.Go(func() {
		<-s.fetcher.draining
		s.source.stop(s.fetcher.done)
	})
	s.unwatch = context.AfterFunc(ctx, s.fetcher.drain) // the codec may not be reading then
}

// ReadRequest implements jsonrpc2.ServerConn. It returns io.EOF after Close, and an error that
// ended the fetcher. It skips a request that may no longer be started: see begin.
func (s *ServerConn) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	s.start.Do(func() { s.run(ctx) })
	s.deliverer.forget()
	for {
		drains := ctx.Err()
		if drains != nil {
			s.fetcher.drain()
		}
		d, ok, err := s.fetcher.next()
		switch {
		case err != nil:
			return jsonrpc2.Delivery{}, err
		case ok && !s.fetcher.begin(d):
			continue
		case ok:
			return s.deliverer.deliver(d), nil
		case drains != nil:
			return jsonrpc2.Delivery{}, drains
		}
		select {
		case <-s.fetcher.fetched:
		case <-ctx.Done():
		case <-s.closed:
			return jsonrpc2.Delivery{}, io.EOF
		}
	}
}

// Err implements jsonrpc2.ServerConn: it returns what is wrong, nil while all works. It
// returns an error until Redis has first answered, which is not asked before Serve begins.
func (s *ServerConn) Err() error {
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
	}
	if err := s.fetcher.cause(); err != nil {
		return err
	}
	return s.impairment()
}

// Close implements jsonrpc2.ServerConn. It takes as long as ClientConn.Close. Its error says
// how many messages, answers and requests given back, are not known to have arrived.
func (s *ServerConn) Close() error {
	s.closing.Do(func() {
		s.start.Do(func() { s.unwatch = func() bool { return true } }) // nothing starts any more
		s.unwatch()
		close(s.closed)
		s.fetcher.drain()
		s.deliverer.asker.Close()
		s.fetching.Wait()
		unsent := s.replier.close()
		s.closeErr = s.loseUnsent(unsent)
		s.leave()
		s.announcing.Wait() // last: it delays nothing else
	})
	return s.closeErr
}

// loseUnsent tells the codec about the answers and requests that could not be pushed: they are
// lost. It returns an error if there are any.
func (s *ServerConn) loseUnsent(unsent []push) error {
	lost := 0
	cause := s.closeCause()
	for _, p := range unsent {
		switch {
		case p.kind == pushReply:
			s.tellCodec(p.body, fmt.Errorf("redisconn: answer to %q not known to be sent when closed: %w", p.list, cause))
		case p.kind == pushBack:
			s.tellCodec(p.body, fmt.Errorf("redisconn: request not given back when closed: %w", cause))
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

// leave ends the source. It logs if the source can't give back all that it holds.
func (s *ServerConn) leave() {
	if err := s.source.leave(); err != nil {
		s.state.Logger.Error("lease not ended: what is held is taken over when it runs out",
			slog.Duration("lease", s.opts.Lease), slog.Any("error", err))
	}
}

// Stats returns what the ServerConn has done so far.
func (s *ServerConn) Stats() ServerStats {
	stats := s.stats()
	stats.Reconnects = s.state.Recoveries.Load()
	if s.running.Load() {
		stats.InFlight = int64(s.places.Taken())
	}
	return stats
}
