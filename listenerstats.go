package jsonrpc2

import "sync/atomic"

// ListenerStats count the connections of a [ServeListener]. The zero value is ready: put its
// address into the ListenerOptions of a listener, or of several to count them together. It
// must not be copied. Any goroutine may call its methods. What the connections carry is
// counted by ServerOptions.Stats.
type ListenerStats struct {
	accepted, ended, idle, slow, broken, acceptErrors atomic.Int64

	unsent atomic.Int64
}

// ListenerCounts are what ListenerStats have counted. Each connection is counted once in
// Accepted, and is in Open until it has ended. It is then counted in Idle, Slow or Broken, or
// in none of them if it ended in good order, as in a drain. All but Open and Unsent only rise.
type ListenerCounts struct {
	Accepted     int64 `json:"accepted"`
	Open         int64 `json:"open"`          // connections; a gauge
	Idle         int64 `json:"idle"`          // connections that were closed after IdleTimeout
	Slow         int64 `json:"slow"`          // connections that were cut off, since too many answers waited for them
	Broken       int64 `json:"broken"`        // connections that were reset, failed in the handshake or lost answers at their end
	AcceptErrors int64 `json:"accept_errors"` // tries to accept a connection that failed
	Unsent       int64 `json:"unsent"`        // bytes of answers that wait to be sent; a gauge
}

// Snapshot returns what has been counted so far.
func (s *ListenerStats) Snapshot() ListenerCounts {
	c := ListenerCounts{
		Idle:         s.idle.Load(),
		Slow:         s.slow.Load(),
		Broken:       s.broken.Load(),
		AcceptErrors: s.acceptErrors.Load(),
		Unsent:       s.unsent.Load(),
	}
	c.Open = -s.ended.Load()
	c.Accepted = s.accepted.Load() // last: nothing has ended that was not accepted
	c.Open += c.Accepted
	return c
}
