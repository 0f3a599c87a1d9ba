package link

import (
	"sync/atomic"
	"time"
)

// A Sendable is a request on its way to a broker. GivenUp and Fail are those of a
// jsonrpc2.Request.
type Sendable interface {
	GivenUp() bool
	Fail(err error)
	Size() int             // bytes of its body
	TriedUntil() time.Time // when its sender no longer tries to send it
}

// Requests are an Outbox for the requests of a client. Its writer calls Wanted, Refused,
// Admitted, FailUnsent and Fail: these drop or fail the requests that are not to be sent,
// count them, and make room for others.
type Requests[T Sendable] struct {
	*Outbox[T]

	// How many requests could not be sent, were given up before, or found no room in the
	// queue.
	Unsent, Expired, Overloaded atomic.Int64
}

// NewRequests returns empty Requests. Put fails with full when there would be more than 16
// MiB.
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

// Refused returns the requests to try again, of those that the broker has not taken. The
// others, whose TriedUntil is over, fail with the error that cause returns.
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

// Admitted returns the first n requests, for which the queue has room. The others fail with
// overloaded.
func (r *Requests[T]) Admitted(work []T, n int, overloaded error) []T {
	r.Overloaded.Add(int64(len(work) - n))
	r.Fail(overloaded, work[n:]...)
	return work[:n]
}

// FailUnsent fails requests that could not be sent, and counts them as Unsent.
func (r *Requests[T]) FailUnsent(err error, requests ...T) {
	r.Unsent.Add(int64(len(requests)))
	r.Fail(err, requests...)
}

// Fail fails requests that are not sent. It does not count them.
func (r *Requests[T]) Fail(err error, requests ...T) {
	for _, request := range requests {
		r.Done(request.Size())
		request.Fail(err)
	}
}
