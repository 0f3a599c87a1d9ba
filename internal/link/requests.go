package link

import (
	"sync/atomic"
	"time"
)

// A Sendable is a request on its way to a broker.
type Sendable interface {
	GivenUp() bool
	Fail(err error)
	Size() int             // bytes of its body
	TriedUntil() time.Time // sending it is not tried after that
}

// Requests are an Outbox of requests for a client's one sender. Its methods drop or fail the
// requests that are not to be sent, count them, and make room for others.
type Requests[T Sendable] struct {
	*Outbox[T]
	Unsent, Expired, Overloaded atomic.Int64
}

// NewRequests returns empty Requests. Their Put fails with full while more than 16 MiB wait.
func NewRequests[T Sendable](full error) *Requests[T] {
	return &Requests[T]{Outbox: NewOutbox[T](full)}
}

// Wanted returns the requests whose callers still wait, and drops the others.
func (r *Requests[T]) Wanted(work []T) []T {
	wanted := work[:0]
	for _, request := range work {
		if !request.GivenUp() {
			wanted = append(wanted, request)
			continue
		}
		r.Expired.Add(1)
		r.Done(request.Size())
	}
	return wanted
}

// Refused returns the requests to try again, of those that the broker has not taken. It
// fails those that were tried until TriedUntil, with the error that cause returns.
func (r *Requests[T]) Refused(work []T, cause func() error) (again []T) {
	now := time.Now()
	again = work[:0]
	var err error
	for _, request := range work {
		if now.Before(request.TriedUntil()) {
			again = append(again, request)
			continue
		}
		if err == nil {
			err = cause()
		}
		r.FailUnsent(err, request)
	}
	return again
}

// Admitted returns the first n requests, for which the queue has room. The others fail.
func (r *Requests[T]) Admitted(work []T, n int, overloaded error) []T {
	r.Overloaded.Add(int64(len(work) - n))
	r.Fail(overloaded, work[n:]...)
	return work[:n]
}

// FailUnsent fails and counts requests that could not be sent.
func (r *Requests[T]) FailUnsent(err error, requests ...T) {
	r.Unsent.Add(int64(len(requests)))
	r.Fail(err, requests...)
}

// Fail fails requests that are not sent.
func (r *Requests[T]) Fail(err error, requests ...T) {
	for _, request := range requests {
		r.Done(request.Size())
		request.Fail(err)
	}
}
