package jsonrpc2

import (
	"container/heap"
	"fmt"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A retried is a request of a caller, with all tries to send it. Its states:
//
//	state        what happens                        next state
//	trying       the try fails                       failed
//	trying       no answer has come for After        withdrawing
//	failed       run sends it again later            waiting
//	failed       run does not send it again          over
//	withdrawing  the Conn has withdrawn it, or not   waiting
//	waiting      it is time for the next try         trying
//	any          Close                               over
//
// A request ends in any of the states when it is answered, overdue or given up. Its try then
// ends with it, and run drops the request when it looks at it next. What holds in all states:
//
//   - At most one try is under way. Each earlier one has ended: the Conn has called its Fail,
//     or it was given up.
//   - After an error that says that a try may have run, mayHaveRun is set before the next
//     try, and stays set. No error of the request says afterwards that it did not run.
//   - No try begins after the deadline, after the end of the request, or after Close.
//   - The request fails once, and only in run, in withdraw, or after Close.
type retried struct {
	conn    *retryConn
	request *Request // the caller's, or a batch
	batched bool     // a Batch around the Retry has sent it, or made it
	policy  RetryPolicy
	backoff link.Backoff

	// Protected by conn.mu.
	state      retryState
	attempt    *try      // the last one
	tries      int       // how many have failed
	err        error     // of the last try that has failed
	at         time.Time // when run has to look at it
	index      int       // in conn.due; -1: not there
	mayHaveRun bool      // a try may have
	repeats    bool      // the last try may have run
	unpaid     bool      // the next try costs some of the budget
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

// policyOf returns the policy of a request. That of a batch allows only what the policies of
// all its requests allow, and has the longest After.
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
		if !policy.Idempotent || policy.After == 0 || other.After == 0 {
			policy.After = 0
		} else {
			policy.After = max(policy.After, other.After)
		}
	}
	return policy
}

// limitOf returns when a request ends by itself, the zero time if it does not. It returns the
// zero time also for a batch with a notification, whose limit is not known.
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

// body returns the message of the next try. Of a batch it leaves out the requests that have
// ended. It returns nil if nothing is left, or if a part has no text that can be sent alone.
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

// mayRetry reports whether there is a policy under which a request that has failed with err may
// be sent again.
func mayRetry(err error) bool {
	switch sentinelOf(err.Error()) {
	case ErrUnavailable, ErrNoServer, ErrOverloaded, ErrReplyLost, ErrTimeout, ErrUnconfirmed:
		return true
	}
	return false
}

// inquired returns the try that the Conn has to be asked about. If there is none, it returns
// what is known of the request instead: an ErrNotRun, or nil if it may have run.
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

// ranPerhaps reports whether an earlier try may have run.
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

// A try is one attempt to send a request. The Conn gets it in place of the request.
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

// fail ends the try. run then decides what becomes of the request.
func (a *try) fail(err error) {
	if isUnconfirmed(err) && !a.isNotification() { // it ends notifications in a batch, and no try
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

// unsend notes that the request is not in a message any more, after a try. The try keeps its
// message: a Batch below may still have to tell what became of it.
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

// dueRequests are a heap of those that run has to look at, the earliest first.
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

// push makes run look at rt when rt.at has come. It is called with c.mu locked.
func (c *retryConn) push(rt *retried) {
	heap.Push(&c.due, rt)
	if rt.index == 0 {
		link.Signal(c.wake)
	}
}

// forget takes rt out of what run has to look at.
func (c *retryConn) forget(rt *retried) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if rt.index >= 0 {
		heap.Remove(&c.due, rt.index)
	}
}
