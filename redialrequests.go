package jsonrpc2

import (
	"slices"
	"time"
)

// unsentRequests are the requests that wait for a connection, in their order.
type unsentRequests struct {
	requests []*unsentRequest
	bytes    int
}

// An unsentRequest waits for a connection, or has waited for one.
type unsentRequest struct {
	*Request
	until time.Time // when it fails, if there is a cause by then
	sent  bool      // given to a stream
}

func (w *unsentRequest) size() int { return len(w.Body) + len("\n") }

// add adds a request. It reports whether there was room.
func (u *unsentRequests) add(r *Request) bool {
	w := &unsentRequest{Request: r, until: time.Now().Add(redialPatience)}
	if u.bytes+w.size() > maxWaiting {
		return false
	}
	r.Keep()
	r.Handle = w
	u.requests = append(u.requests, w)
	u.bytes += w.size()
	return true
}

// take takes all requests.
func (u *unsentRequests) take() []*unsentRequest {
	taken := u.requests
	*u = unsentRequests{}
	return taken
}

// takeUntil takes the requests whose time to wait is over.
func (u *unsentRequests) takeUntil(now time.Time) []*unsentRequest {
	n := 0
	for n < len(u.requests) && !now.Before(u.requests[n].until) {
		u.bytes -= u.requests[n].size()
		n++
	}
	taken := slices.Clone(u.requests[:n])
	u.requests = slices.Delete(u.requests, 0, n)
	return taken
}

// writtenRequests are the requests that were given to a stream and may not have ended.
type writtenRequests struct {
	requests []*Request
	weight   int // of all in requests, see weigh
	limit    int // of weight: the next add then drops those that have ended
}

// minWritten is the least limit: so many requests may be kept that have ended.
const minWritten = 32

// add adds a request. It drops those that have ended when there are twice as many as were
// left the last time, so that each costs little. A long request counts as several, since a
// Batch keeps its text.
func (u *writtenRequests) add(r *Request) {
	if u.weight >= u.limit {
		u.requests = u.unended()
		u.weight = 0
		for _, r := range u.requests {
			u.weight += weigh(r)
		}
		u.limit = max(2*u.weight, minWritten)
	}
	u.requests = append(u.requests, r)
	u.weight += weigh(r)
}

// weigh counts a request as one, and each 64 KiB of its text as one more.
func weigh(r *Request) int { return 1 + len(r.Body)>>16 }

// unended returns the requests that have not ended. It reuses the slice u.requests.
func (u *writtenRequests) unended() []*Request {
	return slices.DeleteFunc(u.requests, (*Request).GivenUp)
}
