package jsonrpc2

import (
	"sync"
	"sync/atomic"
)

// ClientStats count the calls and notifications of a client, and what became of them. The
// zero value is ready: put its address into the ClientOptions of a client, or of several
// to count them together. It must not be copied. Any goroutine may call its methods.
//
// With package expvar, a program publishes the counts by
//
//	expvar.Publish("calc client", expvar.Func(func() any { return stats.Snapshot() }))
type ClientStats struct {
	calls, notifications atomic.Int64
	_                    cacheLine // callers count those above, mostly the reading goroutine those below
	ends                 [clientEnds]atomic.Int64
	invalid, dropped     atomic.Int64
}

// A cacheLine keeps counters of different goroutines out of each other's way.
type cacheLine [64]byte

// A clientEnd says how a call or a notification has ended.
type clientEnd int

const (
	endAnswered clientEnd = iota
	endFailed
	endSent
	endTimedOut
	endCanceled
	endUnsent
	endReplyLost
	endUnconfirmed
	endBadReply
	endReplyTooLarge
	endClosed
	clientEnds // how many there are
)

// ClientCounts are what ClientStats have counted. Each call and notification is counted
// once when it begins, in Calls or Notifications, and once when it ends, in one of the
// others; until then it is in InFlight:
//
//	Calls + Notifications = Answered + Errors + Sent + Timeouts + Canceled + Unsent +
//	    RepliesLost + Unconfirmed + BadReplies + RepliesTooLarge + Closed + InFlight
//
// What never reaches the codec is not counted: a request whose ctx is done before it
// begins, and one on a client that has ended. All but InFlight only rise.
type ClientCounts struct {
	Calls         int64 `json:"calls"`
	Notifications int64 `json:"notifications"`

	Answered        int64 `json:"answered"`          // calls with a result
	Errors          int64 `json:"errors"`            // calls that the server answered with an error
	Sent            int64 `json:"sent"`              // notifications that the broker or the peer has
	Timeouts        int64 `json:"timeouts"`          // by the client's Timeout, the deadline of a ctx, or the Timeout of an http.Client
	Canceled        int64 `json:"canceled"`          // by a ctx without its deadline
	Unsent          int64 `json:"unsent"`            // certainly not run: ErrUnavailable, ErrNoServer, ErrOverloaded, ErrTooLarge, ErrOpened, args that can't be encoded, or refused by Begin
	RepliesLost     int64 `json:"replies_lost"`      // calls that failed with ErrReplyLost, but for those in Closed
	Unconfirmed     int64 `json:"unconfirmed"`       // notifications with ErrUnconfirmed that are in no other line
	BadReplies      int64 `json:"bad_replies"`       // calls that failed with ErrBadReply
	RepliesTooLarge int64 `json:"replies_too_large"` // calls that failed with ErrReplyTooLarge
	Closed          int64 `json:"closed"`            // ended by the client's Close
	InFlight        int64 `json:"in_flight"`         // not ended; a gauge

	// These count what arrived and answered nothing that waits. They are no part of the sum.
	Invalid int64 `json:"invalid"` // messages and items that are no responses
	Dropped int64 `json:"dropped"` // responses: late, repeated, or nobody's
}

// Snapshot returns what has been counted so far.
func (s *ClientStats) Snapshot() ClientCounts {
	c := ClientCounts{
		Answered:        s.ends[endAnswered].Load(),
		Errors:          s.ends[endFailed].Load(),
		Sent:            s.ends[endSent].Load(),
		Timeouts:        s.ends[endTimedOut].Load(),
		Canceled:        s.ends[endCanceled].Load(),
		Unsent:          s.ends[endUnsent].Load(),
		RepliesLost:     s.ends[endReplyLost].Load(),
		Unconfirmed:     s.ends[endUnconfirmed].Load(),
		BadReplies:      s.ends[endBadReply].Load(),
		RepliesTooLarge: s.ends[endReplyTooLarge].Load(),
		Closed:          s.ends[endClosed].Load(),
		Invalid:         s.invalid.Load(),
		Dropped:         s.dropped.Load(),
	}
	// What has begun is read last: so InFlight is never negative.
	c.Calls, c.Notifications = s.calls.Load(), s.notifications.Load()
	c.InFlight = c.Calls + c.Notifications - c.Answered - c.Errors - c.Sent - c.Timeouts - c.Canceled -
		c.Unsent - c.RepliesLost - c.Unconfirmed - c.BadReplies - c.RepliesTooLarge - c.Closed
	return c
}

func (s *ClientStats) begin(p *pendingCall) {
	if p.notification != nil {
		s.notifications.Add(1)
	} else {
		s.calls.Add(1)
	}
}

func (s *ClientStats) end(how clientEnd) { s.ends[how].Add(1) }

// endWith returns the end that a request has with an error: the server's, or one that
// begins with a sentinel.
func endWith(err error) clientEnd {
	if _, ok := err.(*Error); ok {
		return endFailed
	}
	switch sentinelOf(err.Error()) {
	case ErrTimeout:
		return endTimedOut
	case ErrReplyLost:
		return endReplyLost
	case ErrUnconfirmed:
		return endUnconfirmed
	case ErrBadReply:
		return endBadReply
	case ErrReplyTooLarge:
		return endReplyTooLarge
	}
	return endUnsent
}

// ServerStats count the calls and notifications that a server has received, and what became
// of them. The zero value is ready: put its address into the ServerOptions of a server, or
// of several to count them together. It must not be copied. Any goroutine may call its
// methods. It is published as [ClientStats] are.
type ServerStats struct {
	calls, notifications      atomic.Int64
	expired, invalid, dropped atomic.Int64
	_                         cacheLine // the reading goroutine counts those above, those of methods those below
	answered, errors, done    atomic.Int64
	lostReplies               atomic.Int64

	mu      sync.Mutex            // protects following
	servers map[*serving]struct{} // that have not ended
}

// ServerCounts are what ServerStats have counted. Each call and notification is counted
// once when it was read, in Calls or Notifications, and once when it has ended, in one of
// the others; until then it is in InFlight:
//
//	Calls + Notifications = Answered + Errors + Done + Expired + InFlight
//
// All but InFlight only rise.
type ServerCounts struct {
	Calls         int64 `json:"calls"`
	Notifications int64 `json:"notifications"`

	Answered int64 `json:"answered"`  // calls, with a result
	Errors   int64 `json:"errors"`    // calls answered with an error, and notifications that failed
	Done     int64 `json:"done"`      // notifications that did not fail
	Expired  int64 `json:"expired"`   // not run, since nobody waited any more
	InFlight int64 `json:"in_flight"` // they run, each in one of the MaxInFlight places; a gauge

	// These count what is no call and no notification, and what became of answers. They are
	// no part of the sum.
	Invalid     int64 `json:"invalid"`      // messages and items that are no requests, or exceed a limit
	Dropped     int64 `json:"dropped"`      // responses, and messages that the transport can't serve, as for want of a reply address
	LostReplies int64 `json:"lost_replies"` // answers that could not be delivered, and requests that could not be given back
}

// Snapshot returns what has been counted so far.
func (s *ServerStats) Snapshot() ServerCounts {
	c := ServerCounts{
		Answered:    s.answered.Load(),
		Errors:      s.errors.Load(),
		Done:        s.done.Load(),
		Expired:     s.expired.Load(),
		Invalid:     s.invalid.Load(),
		Dropped:     s.dropped.Load(),
		LostReplies: s.lostReplies.Load(),
	}
	c.Calls, c.Notifications = s.calls.Load(), s.notifications.Load() // last, as in ClientStats
	c.InFlight = c.Calls + c.Notifications - c.Answered - c.Errors - c.Done - c.Expired
	return c
}

func (s *ServerStats) begin(item *envelope) {
	if item.id == nil {
		s.notifications.Add(1)
	} else {
		s.calls.Add(1)
	}
}
