package amqpconn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A server is the serving end. It has five goroutines, started by the first
// ReadMessage and awaited by Close:
//
//	consumer      keep a connection to consume requests on
//	  ReadMessage   on the codec's goroutine: take one, find its reply queue
//	  Reply         on any: hand the answer over
//	reply         publish all answers that wait, acknowledge their requests
//	publisher     keep a connection to publish on
//	directs       publish the answers to direct reply-to addresses
//	lates         publish answers again whose queue was not there yet
type server struct {
	queue string
	opts  ListenOptions

	out       *link.Outbox[reply]
	notes     *link.Notes
	state     *link.State
	consumer  *consumer
	runs      *runs
	publisher *publisher[reply]
	directs   *directs
	lates     *lates

	start      sync.Once // runs the goroutines, unless closed first
	started    bool
	unwatch    func() bool // ends the watch of ReadMessage's context
	replying   sync.WaitGroup
	confirming sync.WaitGroup // the answers that the broker has not confirmed
	closing    sync.Once
	closed     chan struct{}

	// places holds one for each request that is not answered. The broker limits
	// those of each connection alone, and none with AtMostOnce.
	places chan struct{}
	placed bool // one is taken for the next request; the reading goroutine's own

	requests, replies, givenBack, noAddress, refused, poisoned, undelivered atomic.Int64
}

// maxNotes bounds the answers that could not be delivered and were not logged.
const maxNotes = 100

func newServer(d *dialer, queue string, opts ListenOptions) *server {
	if opts.Prefetch == 0 {
		opts.Prefetch = DefaultPrefetch
	}
	if opts.MaxDeliveries == 0 {
		opts.MaxDeliveries = DefaultMaxDeliveries
	}
	opts.Queue.deliveryLimit = opts.MaxDeliveries
	s := &server{
		queue:     queue,
		opts:      opts,
		out:       link.NewOutbox[reply](false), // the prefetch limits it
		notes:     link.NewNotes(maxNotes),
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

// SetLimits lets no more be delivered than can be started.
func (s *server) SetLimits(l jsonrpc2.Limits) {
	if l.InFlight > 0 {
		s.opts.Prefetch = min(s.opts.Prefetch, l.InFlight)
	}
}

func (s *server) run(ctx context.Context) {
	s.started = true
	s.unwatch = context.AfterFunc(ctx, s.consumer.drain) // also while the codec does not read
	s.places = make(chan struct{}, s.opts.Prefetch)
	s.publisher.start()
	s.consumer.start()
	s.replying.Go(func() {
		s.out.Run(link.Writer[reply]{
			Send:     s.send,
			Kick:     s.publisher.kick,
			MaxPause: maxPause,
			Grace:    sendGrace,
		})
	})
	s.directs.start()
	s.lates.start()
}

func (s *server) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	s.start.Do(func() { s.run(ctx) })
	for {
		if err := ctx.Err(); err != nil {
			s.consumer.drain()
			return jsonrpc2.Message{}, err
		}
		if note, ok := s.notes.Next(); ok {
			return note, nil
		}
		if !s.takePlace(ctx) {
			continue
		}
		d, ok, err := s.consumer.next(ctx, s.notes.Ready(), s.closed)
		if err != nil {
			return jsonrpc2.Message{}, err
		}
		if ok {
			s.requests.Add(1)
			return s.message(d), nil
		}
	}
}

// takePlace waits for a place for the next request. It is false when there is
// something else to see to first.
func (s *server) takePlace(ctx context.Context) bool {
	if s.placed {
		return true
	}
	select {
	case s.places <- struct{}{}:
		s.placed = true
	case <-s.closed: // next is to see that
		return true
	case <-s.notes.Ready():
	case <-ctx.Done():
	}
	return s.placed
}

// isPoison reports whether a request was delivered too often, and how often.
func (s *server) isPoison(d *delivery) (count int64, poison bool) {
	count, _ = d.Headers["x-delivery-count"].(int64)
	return count, s.opts.MaxDeliveries > 0 && count >= int64(s.opts.MaxDeliveries)
}

// message makes a message of a request.
func (s *server) message(d delivery) jsonrpc2.Message {
	body := d.Body
	d.Body = nil // Reply is not to keep it for as long as the method runs
	if count, poison := s.isPoison(&d); poison {
		s.poisoned.Add(1)
		d.session.reject(d)
		return jsonrpc2.Message{Body: body, Err: fmt.Errorf("amqpconn: request dropped after %d deliveries", count), Reply: noReply}
	}
	if s.opts.AtMostOnce {
		if err := d.Ack(false); err != nil { // it will be delivered again
			return jsonrpc2.Message{Body: body, Err: fmt.Errorf("amqpconn: request not acknowledged: %w", err), Reply: noReply}
		}
		d.session = nil
	}
	s.placed = false
	header, _ := jsonrpc2.ScanHeader(body) // what is broken is for the codec
	queue, err := s.replyQueue(d, header)
	request := func() delivery { return d }
	if !s.opts.AtMostOnce {
		run := s.runs.begin(d, body)
		request = func() delivery { return s.runs.end(run) }
	}
	settle := func() error { return s.hand(reply{request: request()}) }
	if err != nil && header.Answer {
		return jsonrpc2.Message{Body: body, Err: err, Reply: func([]byte) error { return settle() }}
	}
	correlation := d.CorrelationId
	if correlation == "" && len(header.ID) <= maxAddress {
		correlation = header.ID
	}
	return jsonrpc2.Message{Body: body, Deadline: d.deadline, Reply: func(answer []byte) error {
		if answer == nil {
			return settle()
		}
		if err != nil {
			return errors.Join(err, settle())
		}
		return s.hand(reply{
			queue:       queue,
			named:       queue == header.ID,
			correlation: correlation,
			body:        append([]byte(nil), answer...),
			until:       time.Now().Add(replyPatience),
			request:     request(),
		})
	}}
}

func (s *server) WriteMessage(context.Context, []byte) error { return errors.ErrUnsupported }

func (s *server) Close() error {
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
	})
	return nil
}

// finish waits until all answers are sent, or there is no more time for that.
// Answers may come back until the end of the publisher.
func (s *server) finish() {
	s.replying.Wait()
	s.confirming.Wait()
	s.publisher.end()
	s.publisher.wait()
	s.directs.finish()
	s.lates.finish()
}

func (s *server) stats() Stats {
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
