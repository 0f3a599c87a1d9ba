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
// does. The codec calls and closes it. Err and Stats are for any goroutine. These are its
// main goroutines; the first ReadRequest starts them and Close awaits them:
//
//	fetch         wait for free places (there are Prefetch), take as many requests
//	ReadRequest   on the codec's goroutine: scan a request, find its reply list
//	Reply         on any: hand the answer to the replier
//	replier       one for each Redis node: push all answers that wait, free their places
//
// Other goroutines announce the server, try failed answers again, end the wait of fetch in a
// drain, look at reply lists before they expire and, with AtLeastOnce, beat and take over
// requests.
type ServerConn struct {
	*shared
	running   atomic.Bool // from the first ReadRequest on
	opened    atomic.Bool
	source    source
	fetcher   *fetcher
	replier   *replier
	deliverer *deliverer // ReadRequest's own
	announcer *announcer

	start      sync.Once   // runs the goroutines, unless closed first
	unwatch    func() bool // ends the watch of ReadRequest's context
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
	s.unwatch = context.AfterFunc(ctx, s.fetcher.drain) // also while the codec does not read
}

// ReadRequest implements jsonrpc2.ServerConn.
func (s *ServerConn) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	s.start.Do(func() { s.run(ctx) })
	s.deliverer.forget()
	for {
		if err := ctx.Err(); err != nil {
			s.fetcher.drain()
			return jsonrpc2.Delivery{}, err
		}
		d, ok, err := s.fetcher.next()
		switch {
		case err != nil:
			return jsonrpc2.Delivery{}, err
		case ok && !s.fetcher.begin(d):
			continue
		case ok:
			return s.deliverer.deliver(d), nil
		}
		select {
		case <-s.fetcher.fetched:
		case <-ctx.Done():
		case <-s.closed:
			return jsonrpc2.Delivery{}, io.EOF
		}
	}
}

// Err implements jsonrpc2.ServerConn: it returns what is wrong, nil while all works. It is
// not nil before the broker has answered, which is asked when Serve has begun.
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

// Close implements jsonrpc2.ServerConn. It takes as long as that of a ClientConn. Its
// error says how many answers, and requests that it gave back, may not have arrived.
func (s *ServerConn) Close() error {
	s.closing.Do(func() {
		s.start.Do(func() { s.unwatch = func() bool { return true } }) // or never
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

// loseUnsent tells the codec of answers and requests that are lost, since they could not be
// pushed. It returns an error if there are any.
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

// leave ends the source, and logs if it can't give back all that it holds.
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
