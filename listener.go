package jsonrpc2

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/rpc"
	"sync"
	"time"
)

// ListenerOptions are the options of a [ServeListener]. The zero value is useful, and so
// is a nil pointer to it. A negative limit stands for its default.
type ListenerOptions struct {
	// ServerOptions hold for all connections together. MaxInFlight limits the calls that
	// run on all of them, Stats count those of all, and the Logger gets one line for what
	// holds them up. Only MaxMessageSize, MaxBatch and MaxDepth are limits of one message.
	ServerOptions

	// MaxConns limits the connections that are open at once; 10,000 if 0. At the limit
	// no more are accepted until one ends: they wait in the system's queue. A process
	// needs a file descriptor for each.
	MaxConns int

	// IdleTimeout closes a connection on which no call runs or waits for a place, and
	// nothing was read or written for so long, or for up to a sixteenth longer. A peer
	// that breaks off a request, or takes no answer, is idle, too. If it is 0 or
	// negative, connections may stay open for ever.
	IdleTimeout time.Duration

	// MaxUnsent limits the answers that wait for peers that don't read, in bytes and on
	// all connections together; 64 MiB if 0. When more wait, connections are cut off
	// until no more do: first those with the most bytes, where the bytes of a peer that
	// has taken nothing for a second count ten times. The Logger gets a warning, and
	// the answers are counted as LostReplies. MaxUnsent should be several times
	// MaxMessageSize: an answer longer than MaxUnsent cuts off its own connection.
	MaxUnsent int

	// ListenerStats, if set, count the connections.
	ListenerStats *ListenerStats
}

const (
	defaultMaxConns  = 10_000
	defaultMaxUnsent = 64 << 20
)

// ServeListener serves the connections that l accepts with the services of server
// (rpc.DefaultServer if nil), until ctx is done. It closes l before it returns. Each
// connection carries messages as a [StreamConn] does, also over TLS, if l comes from
// tls.Listen. A method learns from [CallFrom] who calls. ServeListener may be called for
// several listeners with the same server at once.
//
// A place is one of the MaxInFlight calls that may run at once. A connection takes one for
// each call or item of a batch, once it was read, and gives it back when that has ended.
// Connections that wait get one place each in turn, so that one with many calls does not hold
// up the others.
//
// The end of ctx begins the drain: no more connections are accepted, and those on which
// nothing runs are closed. Calls that run are finished and answered, however long they
// take; their contexts end after Grace. A batch that has begun is finished whole.
//
// If a request waits for a place when the drain begins, it is answered with CodeServer, "not
// run: the server is shutting down". Requests behind it on the same connection, and behind
// calls that run, are not read: their calls fail with ErrReplyLost when the connection
// closes. A peer that does not take its answers holds up the drain for up to 2 s. One that
// takes them slowly holds it up until 2 s after Grace.
//
// ServeListener returns nil after a drain, when all its goroutines have ended. If Accept
// fails for good, ServeListener drains as well, and returns an error that names the address.
// Temporary errors of Accept, as for want of file descriptors, are logged, each cause once a
// minute at most. Accept is tried again after 5 ms, and then after pauses that double up to
// 1 s. A connection that breaks is a debug line in the Logger.
//
// As with net/http, the [Context] of each call is done when its connection is reset, and
// also when the peer has ended what it sends. Calls that run then are still answered, since
// the peer may still read. A request that waits for a place then is not run, and is counted
// as Expired. ServeListener does not notice that a peer has gone in two cases: while more
// than 1 MiB of answers wait for the peer; and while one of its requests waits for a place
// and 4 KiB or more have come behind it.
//
// Where strangers connect, these limits say what they can cost:
//
//   - An idle connection takes about 11 KiB of memory, 28 KiB over TLS, and 19 KiB where l
//     accepts connections of a type of its own, and on Windows.
//   - A TLS handshake that takes more than 10 s ends its connection.
//   - A connection that sends a message takes up to four times MaxMessageSize while it comes,
//     and while it waits for a place. With the defaults that is 16 MiB, and 160 GB for 10,000
//     hostile connections: set MaxConns and MaxMessageSize lower where strangers connect.
//   - Answers that wait for peers take MaxUnsent. Answers that are being made come on top:
//     MaxInFlight times MaxMessageSize, and MaxMessageSize for each connection with a batch
//     that has begun, as its first answers wait for its last. A connection takes no more
//     requests while more than 1 MiB of answers wait for its peer.
//   - A peer that sends a byte now and then stays connected for ever, with or without
//     IdleTimeout.
func ServeListener(ctx context.Context, server *rpc.Server, l net.Listener, opts *ListenerOptions) error {
	if server == nil {
		server = rpc.DefaultServer
	}
	ctx, drain := context.WithCancel(ctx)
	s := newListening(ctx, server, l, opts)
	closed := make(chan struct{})
	context.AfterFunc(ctx, func() {
		defer close(closed)
		_ = l.Close()
	})
	if opts != nil && opts.IdleTimeout > 0 {
		s.conns.Go(s.endIdle)
	}
	err := s.acceptAll()
	drain() // Accept may have failed for good
	<-closed
	s.conns.Wait()
	s.stop()
	s.log.close()
	return err
}

// A listening is a listener and the connections that it has accepted.
type listening struct {
	*serving
	host     *streamHost
	listener net.Listener
	server   *rpc.Server
	limits   ListenerOptions
	counts   *ListenerStats
	open     chan struct{}  // has one element for each open connection
	conns    sync.WaitGroup // for their goroutines, and that of endIdle
	relief   sync.Mutex     // held by relieve: one goroutine cuts off at a time
}

func newListening(ctx context.Context, server *rpc.Server, l net.Listener, opts *ListenerOptions) *listening {
	if opts == nil {
		opts = &ListenerOptions{}
	}
	s := &listening{server: server, listener: l, limits: *opts, counts: opts.ListenerStats}
	if s.counts == nil {
		s.counts = new(ListenerStats)
	}
	s.open = make(chan struct{}, orDefault(opts.MaxConns, defaultMaxConns))
	s.serving = newServing(ctx, &opts.ServerOptions)
	s.host = &streamHost{
		began:     time.Now(),
		graceDone: s.grace.ctx.Done(),
		maxUnsent: int64(orDefault(opts.MaxUnsent, defaultMaxUnsent)),
		counts:    s.counts,
		relieve:   s.relieve,
	}
	return s
}

// acceptAll accepts connections until the drain, or until Accept fails for good.
func (s *listening) acceptAll() error {
	var failures acceptFailures
	for {
		select {
		case s.open <- struct{}{}:
		case <-s.ctx.Done():
			return nil
		}
		conn, err := s.listener.Accept()
		if err == nil {
			failures.pause = 0
			s.conns.Go(func() { s.serve(conn) })
			continue
		}
		<-s.open
		if s.ctx.Err() != nil {
			return nil
		}
		s.counts.acceptErrors.Add(1)
		if !isTemporary(err) {
			return fmt.Errorf("jsonrpc2: accepting connections at %v: %w", s.listener.Addr(), err)
		}
		failures.log(s.log.logger, s.listener.Addr(), err)
		failures.wait(s.ctx)
	}
}

// serve serves a connection to its end.
func (s *listening) serve(conn net.Conn) {
	s.counts.accepted.Add(1)
	stream := newStreamConn(conn, s.host)
	codec := s.newCodec(stream, stream)
	s.server.ServeCodec(codec)
	s.note(stream, codec.err)
	s.counts.ended.Add(1)
	<-s.open
}

// note counts how a connection has ended. It logs a debug line alone: ten thousand peers can
// cause one each.
func (s *listening) note(c *StreamConn, err error) {
	why := "jsonrpc2: connection broke"
	switch {
	case c.reads.idle.Load(), errors.Is(err, errIdle):
		s.counts.idle.Add(1)
		why = "jsonrpc2: idle connection closed"
	case errors.Is(err, errSlow): // counted and logged before
		return
	case err == nil:
		return
	default:
		s.counts.broken.Add(1)
	}
	s.log.logger.Debug(why, slog.Any("peer", c.rwc.(net.Conn).RemoteAddr()), slog.Any("error", err))
}

// isTemporary reports whether Accept may work again after err, as when the process has no
// file descriptor left.
func isTemporary(err error) bool {
	var temporary interface{ Temporary() bool }
	var timeout interface{ Timeout() bool }
	return errors.As(err, &temporary) && temporary.Temporary() || errors.As(err, &timeout) && timeout.Timeout()
}

const (
	minAcceptPause  = 5 * time.Millisecond
	maxAcceptPause  = time.Second
	acceptLogPause  = time.Minute // between two lines of one cause
	maxAcceptCauses = 10
)

// acceptFailures are the temporary errors of Accept.
type acceptFailures struct {
	pause  time.Duration        // the last one; 0: Accept has worked since
	logged map[string]time.Time // when each cause was logged
}

// log logs a cause, unless that was done less than acceptLogPause before. A success does not
// count as the end of a cause: without file descriptors, Accept works once whenever a
// connection ends.
func (f *acceptFailures) log(logger *slog.Logger, addr net.Addr, err error) {
	cause, now := err.Error(), time.Now()
	if last, ok := f.logged[cause]; ok && now.Sub(last) < acceptLogPause {
		return
	}
	if f.logged == nil || len(f.logged) >= maxAcceptCauses {
		f.logged = make(map[string]time.Time)
	}
	f.logged[cause] = now
	logger.Warn("jsonrpc2: no connection accepted, trying again", slog.Any("listener", addr), slog.Any("error", err))
}

// wait waits before the next try: from 5 ms to 1 s, twice as long each time.
func (f *acceptFailures) wait(ctx context.Context) {
	f.pause = min(max(2*f.pause, minAcceptPause), maxAcceptPause)
	timer := time.NewTimer(f.pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
