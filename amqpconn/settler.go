package amqpconn

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A settler settles requests. When an answer is done with, it acknowledges or requeues the
// request, and frees its place. It counts the answers, and tells the codec of those that are
// not delivered. The replier, its lanes and its listener may use it at the same time.
type settler struct {
	state    *link.State
	places   *places
	requeues bool // requests go back if their answers are not published in time

	// tellCodec tells the codec of an answer that is not delivered. It is Settings.Lost,
	// and does nothing before Open.
	tellCodec func(body []byte, why error)

	replies, undelivered atomic.Int64 // as in ServerStats

	unsent atomic.Int64 // how many of undelivered Close could not send
}

func newSettler(state *link.State, places *places, requeues bool) *settler {
	return &settler{state: state, places: places, requeues: requeues, tellCodec: func([]byte, error) {}}
}

// acknowledge acknowledges the requests of answers that are done with.
func (s *settler) acknowledge(done []reply) {
	requests := make([]delivery, 0, len(done))
	for _, r := range done {
		if !r.acknowledged {
			requests = append(requests, r.request)
		}
	}
	acknowledge(requests)
	s.places.free(len(requests))
}

// requeue returns the requests of answers that could not be published to their queue.
func (s *settler) requeue(failed []reply) {
	places := 0
	for _, r := range failed {
		if r.acknowledged {
			continue
		}
		places++
		if r.request.acks != nil {
			r.request.acks.requeue(r.request)
		}
	}
	s.places.free(places)
}

// unexpired drops the answers that have waited for replyPatience, and settles their requests.
// It returns the others.
func (s *settler) unexpired(work []reply) (again []reply) {
	again = work[:0]
	var expired []reply
	now := time.Now()
	for _, r := range work {
		if now.Before(r.until) {
			again = append(again, r)
			continue
		}
		s.undelivered.Add(1)
		s.tellCodec(r.body, fmt.Errorf("amqpconn: answer to %q not published within %v: %w", r.queue, replyPatience, s.cause()))
		expired = append(expired, r)
	}
	if s.requeues {
		s.requeue(expired)
	} else {
		s.acknowledge(expired)
	}
	return again
}

// abandon drops the answers that Close can't send. It settles nothing: the broker delivers
// the requests again, except those that are acknowledged.
func (s *settler) abandon(left []reply) {
	for _, r := range left {
		if r.queue == "" {
			continue
		}
		s.unsent.Add(1)
		s.undelivered.Add(1)
		s.tellCodec(r.body, fmt.Errorf("amqpconn: answer to %q not known to be published before the end: %w", r.queue, s.cause()))
	}
}

// undeliverable drops an answer that the broker returned or refused. The caller settles its
// request.
func (s *settler) undeliverable(queue string, body []byte, err error) {
	s.undelivered.Add(1)
	s.tellCodec(body, fmt.Errorf("amqpconn: nobody waits for the answer to %q: %w", queue, err))
}

// cause returns why answers can't be published.
func (s *settler) cause() error {
	if err := s.state.Cause(); err != nil {
		return err
	}
	return errors.New("the broker takes none")
}
