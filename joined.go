package jsonrpc2

import (
	"slices"
	"time"
)

// A joined request stands for others.
type joined struct {
	Request
	hooks Hooks
	parts []*Request
	left  int // parts that have not ended; protected by mu
}

// JoinRequests is for those who write a Conn that wraps another one. It returns a Request
// that stands for all requests, of which there is at least one. body is the message to send
// for them: it must not change until WriteRequest has returned. The slice of requests must
// not be changed afterwards.
//
// The joined Request has ended when all requests have. It has the latest of their
// deadlines, or none if one of them has none, and the context values of the first. A
// Reply to it answers the calls among them. Its Sent and Fail call those of each request,
// unless a hook is set.
func JoinRequests(body []byte, hooks Hooks, requests ...*Request) *Request {
	j := &joined{hooks: hooks, parts: requests, left: len(requests)}
	j.owner, j.ctx, j.Body = j, requests[0].ctx, body
	j.deadline = latestDeadline(requests)
	for _, r := range requests {
		r.join(j)
	}
	return &j.Request
}

// appendBatch appends a batch of requests: of one its body alone.
func appendBatch(b []byte, requests []*Request) []byte {
	if len(requests) == 1 {
		return append(b, requests[0].Body...)
	}
	for i, r := range requests {
		separator := byte(',')
		if i == 0 {
			separator = '['
		}
		b = append(append(b, separator), r.Body...)
	}
	return append(b, ']')
}

func latestDeadline(requests []*Request) (latest time.Time) {
	for _, r := range requests {
		switch {
		case r.deadline.IsZero():
			return time.Time{}
		case r.deadline.After(latest):
			latest = r.deadline
		}
	}
	return latest
}

// partEnded implements whole.
func (j *joined) partEnded(end int32) {
	j.mu.Lock()
	j.left--
	last := j.left == 0
	j.mu.Unlock()
	if last {
		j.finish(end)
	}
}

func (j *joined) sent() {
	switch {
	case j.GivenUp():
	case j.hooks.Sent != nil:
		j.hooks.Sent()
	default:
		for _, r := range j.parts {
			r.Sent()
		}
	}
}

// fail fails the parts, or has the hook do it. An ErrUnconfirmed ends no call: it goes to the
// parts, and ends the notifications among them.
func (j *joined) fail(err error) {
	switch {
	case isUnconfirmed(err) && !j.isNotification():
		j.failParts(err)
	case !j.finish(canceled):
	case j.hooks.Fail != nil:
		for _, r := range j.parts {
			r.leave(j)
		}
		j.hooks.Fail(err)
	default:
		j.failParts(err)
	}
}

func (j *joined) failParts(err error) {
	for _, r := range j.parts {
		r.Fail(err)
	}
}

func (j *joined) isNotification() bool {
	return !slices.ContainsFunc(j.parts, func(r *Request) bool { return !r.IsNotification() })
}

func (j *joined) hasNotification() bool {
	return slices.ContainsFunc(j.parts, (*Request).HasNotification)
}

func (j *joined) id() string {
	for _, r := range j.parts {
		if id := r.ID(); id != "" {
			return id
		}
	}
	return ""
}
