package jsonrpc2

import (
	"container/heap"
	"fmt"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A retried is a request of a caller, with all tries to send it. Its states:
//
//	trying       a try is with the Conn       until it fails: failed
//	                                          until After: withdrawing
//	failed       run has to decide            to send it again: waiting
//	                                          or that the request fails: over
//	withdrawing  the Conn is asked to         until it has answered: waiting
//	waiting      for the time of the next try until then: trying
//	                                          until Close: over
//
// A request ends in any of the states when it is answered, overdue or given up. It ends its
// try by that, and is dropped where it is met next. What holds in all states:
//
//   - At most one try is under way. The Conn has let go of each earlier one, by Fail, or
//     was told that it is given up.
//   - After an error that says that a try may have run, mayHaveRun is set before the next
//     try, and stays so. No error of the request says afterwards that it did not run.
//   - No try begins after the deadline, after the end of the request, or after Close.
//   - The request fails once, and only in run, in withdraw, or after Close.
type retried struct {
	conn    *retryConn
	request *Request // the caller's, or a batch
	batched bool     // a Batch has sent it, or made it
	policy  RetryPolicy
	backoff link.Backoff

	// Protected by conn.mu.
	state      retryState
	attempt    *try      // the last
	tries      int       // that have failed
	err        error     // of the last that has failed
	at         time.Time // of the next step
	index      int       // in conn.due; -1: not there
	mayHaveRun bool
	repeats    bool // the last try may have run
	unpaid     bool // the next try costs some of the budget
}

type retryState int

const (
	trying retryState = iota
	failed
	withdrawing
	waiting
)

const maxRetryBackoff = time.Second

func newRetried(c *retryConn, r *Request) *retried {
	rt := &retried{conn: c, request: r, batched: r.message.Load() != nil, index: -1, policy: c.policyOf(r)}
	rt.backoff.Max = maxRetryBackoff
	return rt
}

// policyOf returns the policy of a request. That of a batch allows what those of all its
// requests allow.
func (c *retryConn) policyOf(r *Request) RetryPolicy {
	j, ok := r.owner.(*joined)
	if !ok {
		policy, ok := r.ctx.Value(policyKey{}).(RetryPolicy)
		if !ok {
			policy = c.policy
		}
		if !policy.Idempotent {
			policy.After = 0
		}
		return policy
	}
	policy := c.policyOf(j.parts[0])
	for _, part := range j.parts[1:] {
		other := c.policyOf(part)
		policy.Idempotent = policy.Idempotent && other.Idempotent
		policy.After = max(policy.After, other.After)
		if !policy.Idempotent || other.After == 0 {
			policy.After = 0
		}
	}
	return policy
}

// limitOf returns when a request ends by itself, the zero time if it does not. Of a batch with
// a notification that is not known.
func limitOf(r *Request) time.Time {
	switch o := r.owner.(type) {
	case *try:
		return limitOf(o.of.request)
	case *joined:
		return r.deadline
	case *pendingCall:
		if !o.expires.IsZero() {
			return o.expires
		}
	}
	limit, _ := r.ctx.Deadline()
	return limit
}

// body returns the message of the next try: of a batch, what has not ended. It returns nil
// if there is nothing left, or if the requests in a batch are not known.
func (rt *retried) body() []byte {
	j, ok := rt.request.owner.(*joined)
	switch {
	case rt.request.GivenUp():
		return nil
	case !ok:
		return rt.request.Body
	}
	var left []*Request
	for _, part := range j.parts {
		switch {
		case part.GivenUp():
		case !part.kept || !isSingle(part):
			return nil
		default:
			left = append(left, part)
		}
	}
	switch len(left) {
	case 0:
		return nil
	case len(j.parts):
		return rt.request.Body
	}
	return appendBatch(nil, left)
}

// mayRetry reports whether a request that has failed with err may be sent again under some
// policy.
func mayRetry(err error) bool {
	switch sentinelOf(err.Error()) {
	case ErrUnavailable, ErrNoServer, ErrOverloaded, ErrReplyLost, ErrTimeout, ErrUnconfirmed:
		return true
	}
	return false
}

// inquired returns the try to inquire of. It returns nil if there is none, and what is
// known of the request then.
func (rt *retried) inquired() (*Request, error) {
	rt.conn.mu.Lock()
	defer rt.conn.mu.Unlock()
	switch {
	case rt.state == trying:
		return &rt.attempt.Request, nil
	case rt.mayHaveRun || rt.state == withdrawing:
		return nil, nil
	case rt.state == failed && !certainlyNotRun(rt.err):
		return nil, nil
	case rt.err == nil:
		return nil, fmt.Errorf("%w: it had not been sent", ErrNotRun)
	}
	return nil, fmt.Errorf("%w: it waited to be sent again: %v", ErrNotRun, rt.err)
}

func (rt *retried) ranPerhaps() bool {
	rt.conn.mu.Lock()
	defer rt.conn.mu.Unlock()
	return rt.mayHaveRun
}

// final returns the error to end the request with, for the error of its last try. It is
// called with conn.mu locked.
func (rt *retried) final(err error) error {
	switch {
	case rt.mayHaveRun && certainlyNotRun(err):
		sentinel := ErrReplyLost
		if rt.request.IsNotification() {
			sentinel = ErrUnconfirmed
		}
		return fmt.Errorf("%w: an earlier try may have run; the last of %d: %v", sentinel, rt.tries, err)
	case rt.tries > 1:
		return fmt.Errorf("%w; it was tried %d times", err, rt.tries)
	}
	return err
}

// A try is one to send a request. The Conn has it in place of the request.
type try struct {
	Request
	of *retried
}

func (a *try) isNotification() bool  { return a.of.request.IsNotification() }
func (a *try) hasNotification() bool { return a.of.request.HasNotification() }
func (a *try) id() string            { return a.of.request.ID() }

func (a *try) sent() {
	if !a.GivenUp() {
		a.of.request.Sent()
	}
}

// fail has run decide what becomes of the request.
func (a *try) fail(err error) {
	if isUnconfirmed(err) && !a.isNotification() { // of the notifications in a batch
		a.of.request.Fail(err)
		return
	}
	if !a.finish(canceled) {
		return
	}
	a.of.request.leave(a)
	a.unsend()
	a.of.conn.tryFailed(a.of, withSentinel(err, ErrReplyLost))
}

// unsend notes that the request is not sent yet, after a try. Of the try it stays known: a
// Batch below is still to be asked what became of it.
func (a *try) unsend() {
	if !a.of.batched {
		a.of.request.message.Store(nil)
	}
}

// partEnded implements whole: the request has ended, and with it the try.
func (a *try) partEnded(end int32) {
	if a.finish(end) {
		a.of.conn.forget(a.of)
	}
}

// dueRequests are those that run has to look at, by time. They are a heap.
type dueRequests []*retried

func (d dueRequests) Len() int           { return len(d) }
func (d dueRequests) Less(i, j int) bool { return d[i].at.Before(d[j].at) }
func (d dueRequests) Swap(i, j int) {
	d[i], d[j] = d[j], d[i]
	d[i].index, d[j].index = i, j
}

func (d *dueRequests) Push(x any) {
	rt := x.(*retried)
	rt.index = len(*d)
	*d = append(*d, rt)
}

func (d *dueRequests) Pop() any {
	last := len(*d) - 1
	rt := (*d)[last]
	(*d)[last] = nil
	*d = (*d)[:last]
	rt.index = -1
	return rt
}

// push has run look at rt at its time. It is called with c.mu locked.
func (c *retryConn) push(rt *retried) {
	heap.Push(&c.due, rt)
	if rt.index == 0 {
		link.Signal(c.wake)
	}
}

// forget has run not look at rt any more.
func (c *retryConn) forget(rt *retried) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rt.index >= 0 {
		heap.Remove(&c.due, rt.index)
	}
}
