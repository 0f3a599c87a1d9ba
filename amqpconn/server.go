package amqpconn

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A ServerConn serves a queue. Listen makes it; give it to one codec, as jsonrpc2.Serve
// does. The codec calls and closes it. Err and Stats are for any goroutine. It has five
// goroutines, which the first ReadRequest starts and Close awaits:
//
//	consumer      keep a connection to consume requests on
//	  ReadRequest   on the codec's goroutine: take a request, find its reply queue
//	  Reply         on any: hand the answer over
//	reply         publish all answers that wait, acknowledge their requests
//	publisher     keep a connection to publish on
//	directs       publish answers to direct reply-to addresses
//	lates         publish answers again whose queue did not exist yet
type ServerConn struct {
	queue    string
	opts     ListenOptions
	opened   atomic.Bool
	settings jsonrpc2.Settings // zero if it was never opened
	header   jsonrpc2.Header   // of the request in hand; the reading goroutine's own

	out       *link.Outbox[reply]
	state     *link.State
	consumer  *consumer
	runs      *runs
	publisher *publisher[reply]
	directs   *directs
	lates     *lates

	start      sync.Once // runs the goroutines, unless closed first
	started    bool
	unwatch    func() bool // ends the watch of ReadRequest's context
	replying   sync.WaitGroup
	confirming sync.WaitGroup // the answers that the broker has not confirmed
	closing    sync.Once
	closed     chan struct{}

	// places holds one for each request that is not answered. The broker limits
	// those of each connection alone, and none with jsonrpc2.AtMostOnce.
	places chan struct{}
	placed bool // one is taken for the next request; the reading goroutine's own

	requests, replies, givenBack, noAddress, refused, poisoned, undelivered atomic.Int64

	unsent atomic.Int64 // of the answers in undelivered, those that Close could not send
}

var _ jsonrpc2.ServerConn = (*ServerConn)(nil)

func newServerConn(d *dialer, queue string, opts ListenOptions) *ServerConn {
	if opts.Prefetch == 0 {
		opts.Prefetch = defaultPrefetch
	}
	if opts.MaxDeliveries == 0 {
		opts.MaxDeliveries = defaultMaxDeliveries
	}
	opts.Queue.deliveryLimit = opts.MaxDeliveries
	s := &ServerConn{
		queue:     queue,
		opts:      opts,
		out:       link.NewOutbox[reply](false), // the prefetch limits it
		state:     link.NewState(opts.Logger, "rabbitmq", queue, "server"),
		publisher: newPublisher[reply](),
		closed:    make(chan struct{}),
		runs:      newRuns(),
	}
	s.publisher.keeper.dialer, s.publisher.state, s.publisher.doing = d, s.state, "publishing answers"
	s.publisher.prepare = mayPublish
	if opts.ConfirmReplies {
		s.publisher.confirm, s.publisher.settled = true, s.confirmed
	} else {
		s.publisher.returned, s.publisher.failed = s.returned, s.discount
	}
	s.directs, s.lates = newDirects(s, d), newLates(s, d)
	s.consumer = newConsumer(s, d)
	return s
}

// Open implements jsonrpc2.ServerConn. It lowers Prefetch to settings.InFlight.
func (s *ServerConn) Open(settings jsonrpc2.Settings) error {
	if s.opened.Swap(true) {
		return jsonrpc2.ErrOpened
	}
	s.settings = settings
	if settings.InFlight > 0 {
		s.opts.Prefetch = min(s.opts.Prefetch, settings.InFlight)
	}
	return nil
}

// lost tells the codec of an answer that can't be delivered.
func (s *ServerConn) lost(body []byte, why error) {
	if s.settings.Lost != nil {
		s.settings.Lost(body, why)
	}
}

func (s *ServerConn) run(ctx context.Context) {
	s.started = true
	s.unwatch = context.AfterFunc(ctx, s.consumer.drain) // also while the codec does not read
	s.places = make(chan struct{}, s.opts.Prefetch)
	s.publisher.start()
	s.consumer.start()
	s.replying.Go(func() {
		s.abandon(s.out.Run(link.Writer[reply]{
			Send:     s.send,
			Kick:     s.publisher.kick,
			MaxPause: maxPause,
			Grace:    sendGrace,
		}))
	})
	s.directs.start()
	s.lates.start()
}

// ReadRequest implements jsonrpc2.ServerConn.
func (s *ServerConn) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	s.start.Do(func() { s.run(ctx) })
	for {
		if err := ctx.Err(); err != nil {
			s.consumer.drain()
			return jsonrpc2.Delivery{}, err
		}
		if !s.takePlace(ctx) {
			continue
		}
		d, ok, err := s.consumer.next(ctx, s.closed)
		if err != nil {
			return jsonrpc2.Delivery{}, err
		}
		if ok {
			s.requests.Add(1)
			return s.accept(d), nil
		}
	}
}

// takePlace waits for a place for the next request. It is false once ctx is done.
func (s *ServerConn) takePlace(ctx context.Context) bool {
	if s.placed {
		return true
	}
	select {
	case s.places <- struct{}{}:
		s.placed = true
	case <-s.closed: // next is to see that
		return true
	case <-ctx.Done():
	}
	return s.placed
}

// isPoison reports whether a request was delivered too often, and how often.
func (s *ServerConn) isPoison(d *delivery) (count int64, poison bool) {
	count, _ = d.Headers["x-delivery-count"].(int64)
	return count, s.opts.MaxDeliveries > 0 && count >= int64(s.opts.MaxDeliveries)
}

// accept makes a Delivery of a request.
func (s *ServerConn) accept(d delivery) jsonrpc2.Delivery {
	body := d.Body
	d.Body = nil // Reply is not to keep it for as long as the method runs
	if count, poison := s.isPoison(&d); poison {
		s.poisoned.Add(1)
		return jsonrpc2.Delivery{
			Body:  body,
			Err:   fmt.Errorf("amqpconn: request dropped after %d deliveries", count),
			Reply: rejection(d),
		}
	}
	s.placed = false
	request, err := s.begin(d, body)
	settle := func([]byte) error { return s.hand(reply{request: request()}) }
	if err != nil {
		return jsonrpc2.Delivery{Body: body, Err: err, Reply: settle}
	}
	s.header.Scan(body) // what is broken is for the codec
	id := s.header.ID()
	queue, err := s.replyQueue(&d, id)
	if err != nil && s.header.WantsAnswer() {
		return jsonrpc2.Delivery{Body: body, Header: &s.header, Err: err, Reply: settle}
	}
	correlation := d.CorrelationId
	if correlation == "" && len(id) <= maxAddress {
		correlation = id
	}
	return jsonrpc2.Delivery{Body: body, Header: &s.header, Deadline: d.deadline, Reply: func(answer []byte) error {
		if answer == nil {
			return settle(nil)
		}
		if err != nil {
			return errors.Join(err, settle(nil))
		}
		return s.hand(reply{
			queue:       queue,
			named:       queue == id,
			correlation: correlation,
			body:        bytes.Clone(answer),
			until:       time.Now().Add(replyPatience),
			request:     request(),
		})
	}}
}

// begin notes that a request is about to run. It returns what returns the delivery to
// acknowledge when it has run: with AtMostOnce that is done now. The error says that
// it could not be: the request will be delivered again.
func (s *ServerConn) begin(d delivery, body []byte) (request func() delivery, err error) {
	if s.opts.Guarantee != jsonrpc2.AtMostOnce {
		run := s.runs.begin(d, body)
		return func() delivery { return s.runs.end(run) }, nil
	}
	if err = d.Ack(false); err != nil {
		err = fmt.Errorf("amqpconn: request not acknowledged: %w", err)
	}
	return func() delivery { return delivery{} }, err
}

// rejection returns a Reply that gives a request up.
func rejection(d delivery) func([]byte) error {
	return func([]byte) error {
		d.session.reject(d)
		return nil
	}
}

// Err implements jsonrpc2.ServerConn: it returns what is wrong, nil while all works.
func (s *ServerConn) Err() error {
	select {
	case <-s.closed:
		return net.ErrClosed
	default:
	}
	err := s.state.Cause()
	if err == nil && s.consumer.current() == nil {
		err = errConnecting
	}
	if err == nil {
		err = s.publisher.impairment()
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
		s.start.Do(func() {}) // or never
		close(s.closed)
		s.out.Close()
		s.directs.out.Close()
		if !s.started {
			return
		}
		s.unwatch()
		stop(s.finish, &s.publisher.keeper, &s.consumer.keeper, &s.directs.lane, &s.lates.lane)
		if n := s.unsent.Load(); n > 0 {
			err = fmt.Errorf("amqpconn: %s: closed with %d answers unsent: %w", s.consumer.dialer.where(), n, s.cause())
		}
	})
	return err
}

// finish waits until all answers are sent, or there is no more time for that.
// Answers may come back until the end of the publisher.
func (s *ServerConn) finish() {
	s.replying.Wait()
	s.confirming.Wait()
	s.publisher.end()
	s.publisher.wait()
	s.directs.finish()
	s.lates.finish()
}

// Stats returns what the ServerConn has done so far.
func (s *ServerConn) Stats() Stats {
	return Stats{
		Requests:    s.requests.Load(),
		Replies:     s.replies.Load(),
		Reconnects:  s.state.Recoveries.Load(),
		GivenBack:   s.givenBack.Load(),
		NoAddress:   s.noAddress.Load(),
		Refused:     s.refused.Load(),
		Poisoned:    s.poisoned.Load(),
		Undelivered: s.undelivered.Load(),
	}
}
