package httpconn

import "sync/atomic"

// ClientStats are what a ClientConn has done. Requests only rises; the others are gauges.
type ClientStats struct {
	Requests int64 `json:"requests"`  // messages accepted: calls, notifications and batches
	InFlight int64 `json:"in_flight"` // of Requests, those that have not ended
	Waiting  int64 `json:"waiting"`   // of InFlight, those that wait to be sent: see DialOptions.MaxInFlight
	Bytes    int64 `json:"bytes"`     // in the bodies of InFlight, at most 16 MiB
}

// Stats returns what the ClientConn has done so far. Any goroutine may call it.
func (c *ClientConn) Stats() ClientStats {
	return c.pending.stats()
}

// ServerStats are what a Handler has done. Each HTTP request is counted once in the first
// six fields, when it is taken or refused. It is counted in Replies, too, if it was taken and
// answered. A request that was taken and is not in Replies still runs, or nobody waited for
// its answer. All fields only rise but InFlight and Bytes, which are gauges.
type ServerStats struct {
	Requests int64 `json:"requests"`  // request messages taken
	Refused  int64 `json:"refused"`   // for their method, types or origin
	TooLarge int64 `json:"too_large"` // over the size limit
	Busy     int64 `json:"busy"`      // refused in a drain, for want of a place or for MaxWaiting
	Gone     int64 `json:"gone"`      // body broke off, or context ended, before they were taken
	Late     int64 `json:"late"`      // body did not come in time

	Replies  int64 `json:"replies"`   // answers, also those without a body
	InFlight int64 `json:"in_flight"` // requests that wait for a place or for their answer
	Bytes    int64 `json:"bytes"`     // of bodies that are read or wait for a place, at most MaxWaiting
}

// counters are the ServerStats, as they are counted.
type counters struct {
	requests, replies, refused, tooLarge, busy, gone, late atomic.Int64
}

// Stats returns what the Handler has done so far.
func (h *Handler) Stats() ServerStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return ServerStats{
		Requests: h.count.requests.Load(),
		Replies:  h.count.replies.Load(),
		Refused:  h.count.refused.Load(),
		TooLarge: h.count.tooLarge.Load(),
		Busy:     h.count.busy.Load(),
		Gone:     h.count.gone.Load(),
		Late:     h.count.late.Load(),
		InFlight: int64(h.active),
		Bytes:    h.waiting,
	}
}
