package amqpconn

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A ServerConn serves a queue. Listen makes it; give it to one codec, as jsonrpc2.Serve
// does. The codec calls and closes it. Any goroutine may call Err and Stats. The first
// ReadRequest starts its goroutines, and Close waits for them: consumer, replier, publisher
// with a channel and a listener, directs, and lates.
//
//	consumer      keep a connection to consume requests on
//	  ReadRequest   on the codec's goroutine: read a request, find its reply queue
//	  Reply         on any: hand the answer over
//	replier       publish all answers that wait, acknowledge their requests
//	publisher     keep a connection to publish on
//	  channel       keep a channel of it
//	    listener      handle the answers that are returned, confirmed or refused
//	directs       publish answers to direct reply-to addresses
//	lates         publish answers again whose queue did not exist yet
type ServerConn struct {
	opts   *ListenOptions // shared with the parts; not changed after Open
	opened atomic.Bool
	state  *link.State
	places *places

	consumer  *consumer
	deliverer *deliverer // the reading goroutine's own
	replier   *replier
	settler   *settler

	start   sync.Once // runs the goroutines, unless closed first
	started bool
	unwatch func() bool // ends the watch of ReadRequest's context; set if started
	closing sync.Once
	closed  chan struct{} // closed by Close

	requests atomic.Int64
}

var _ jsonrpc2.ServerConn = (*ServerConn)(nil)

func newServerConn(d *dialer, queue string, opts ListenOptions) *ServerConn {
	opts.setDefaults()
	s := &ServerConn{
		opts:   &opts,
		state:  link.NewState(opts.Logger, "rabbitmq", queue, "server"),
		places: &places{},
		closed: make(chan struct{}),
	}
	runs := newRuns()
	s.settler = newSettler(s.state, s.places, opts.ConfirmReplies)
	s.replier = newReplier(d, s.settler, opts.ConfirmReplies)
	s.consumer = newConsumer(d, s.state, queue, &opts, runs)
	s.deliverer = &deliverer{
		queue:   queue,
		opts:    &opts,
		places:  s.places,
		runs:    runs,
		replier: s.replier,
		isFatal: s.replier.directs.isFatal,
	}
	return s
}

// Open implements jsonrpc2.ServerConn. It lowers Prefetch to settings.InFlight, if that is
// less.
func (s *ServerConn) Open(settings jsonrpc2.Settings) error {
	if s.opened.Swap(true) {
		return jsonrpc2.ErrOpened
	}
	if settings.Lost != nil {
		s.settler.tellCodec = settings.Lost
	}
	if settings.InFlight > 0 {
		s.opts.Prefetch = min(s.opts.Prefetch, settings.InFlight)
	}
	return nil
}

// run starts the goroutines. The end of ctx begins the drain, also while the codec does not
// read.
func (s *ServerConn) run(ctx context.Context) {
	s.started = true
	s.unwatch = context.AfterFunc(ctx, s.consumer.drain)
	s.places.taken = make(chan struct{}, s.opts.Prefetch)
	s.replier.start()
	s.consumer.start()
}

// ReadRequest implements jsonrpc2.ServerConn.
func (s *ServerConn) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	s.start.Do(func() { s.run(ctx) })
	for {
		if err := ctx.Err(); err != nil {
			s.consumer.drain()
			return jsonrpc2.Delivery{}, err
		}
		if s.isClosed() {
			return jsonrpc2.Delivery{}, io.EOF
		}
		if !s.places.take(ctx, s.closed) {
			continue
		}
		d, ok, err := s.consumer.next(ctx, s.closed)
		if err != nil {
			return jsonrpc2.Delivery{}, err
		}
		if ok {
			s.requests.Add(1)
			return s.deliverer.deliver(d), nil
		}
	}
}

func (s *ServerConn) isClosed() bool {
	select {
	case <-s.closed:
		return true
	default:
		return false
	}
}

// Err implements jsonrpc2.ServerConn: it returns what is wrong, nil while all works. Until
// Serve has begun and the broker has let the server in, it returns an error, too.
func (s *ServerConn) Err() error {
	if s.isClosed() {
		return net.ErrClosed
	}
	err := s.state.Cause()
	if err == nil && s.consumer.current() == nil {
		err = errConnecting
	}
	if err == nil {
		err = s.replier.impairment()
	}
	if err != nil {
		return fmt.Errorf("%s: connection impaired: %w", s.consumer.dialer.where(), err)
	}
	return nil
}

// Close implements jsonrpc2.ServerConn. It takes less than 2 s, even if the broker does
// not answer. Its error says how many answers could not be sent. Their requests are
// delivered again, unless they are acknowledged, as with AtMostOnce.
func (s *ServerConn) Close() (err error) {
	s.closing.Do(func() {
		s.start.Do(func() {}) // a later ReadRequest starts nothing
		close(s.closed)
		s.replier.close()
		if !s.started {
			return
		}
		s.unwatch()
		stopAll(s.replier.flush, s.replier, s.consumer)
		if n := s.settler.unsent.Load(); n > 0 {
			err = fmt.Errorf("amqpconn: %s: closed with %d answers unsent: %w", s.consumer.dialer.where(), n, s.settler.cause())
		}
	})
	return err
}

// Stats returns what the ServerConn has done so far.
func (s *ServerConn) Stats() ServerStats {
	return ServerStats{
		Requests:    s.requests.Load(),
		Replies:     s.settler.replies.Load(),
		Reconnects:  s.state.Recoveries.Load(),
		GivenBack:   s.consumer.givenBack.Load(),
		NoAddress:   s.deliverer.noAddress.Load(),
		Refused:     s.deliverer.refused.Load(),
		Poisoned:    s.deliverer.poisoned.Load(),
		Undelivered: s.settler.undelivered.Load(),
		InFlight:    s.places.used.Load(),
	}
}
