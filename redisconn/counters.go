package redisconn

import "sync/atomic"

// ClientStats are what a ClientConn has done. A batch is one message. Bytes is a gauge: it
// rises and falls. The others only rise.
type ClientStats struct {
	Requests   int64 `json:"requests"`   // request messages that were sent
	Replies    int64 `json:"replies"`    // answers that were received
	Reconnects int64 `json:"reconnects"` // times the connection failed and worked again
	Withdrawn  int64 `json:"withdrawn"`  // requests removed from the queue when their callers gave up

	// Requests that were not sent.
	Unsent     int64 `json:"unsent"`     // could not be
	Overloaded int64 `json:"overloaded"` // because of MaxBacklog
	Expired    int64 `json:"expired"`    // their callers gave up first

	Bytes int64 `json:"bytes"` // of requests that wait to be sent, at most 16 MiB
}

// ServerStats are what a ServerConn has done. A batch is one message. InFlight is a gauge: it
// rises and falls. The others only rise.
type ServerStats struct {
	Requests   int64 `json:"requests"`   // request messages that were taken
	Replies    int64 `json:"replies"`    // answers that were sent
	Reconnects int64 `json:"reconnects"` // times the connection failed and worked again
	GivenBack  int64 `json:"given_back"` // requests given back in a drain

	// Requests and answers that were dropped.
	NoAddress   int64 `json:"no_address"`  // calls without a reply list, or with a name over 255 bytes
	Refused     int64 `json:"refused"`     // calls whose list is a queue's key, or lacks ReplyPrefix
	Expired     int64 `json:"expired"`     // answers not sent within ReplyTTL
	Undelivered int64 `json:"undelivered"` // answers that their list, or Redis, refused

	// With AtLeastOnce.
	TakenOver   int64 `json:"taken_over"`   // others' requests made suspects; its own after a failover
	LeaseLost   int64 `json:"lease_lost"`   // requests taken over before they began or were answered
	Dead        int64 `json:"dead"`         // requests given up after MaxAttempts
	DeadDropped int64 `json:"dead_dropped"` // requests dropped from the DeadList because of MaxDead

	InFlight int64 `json:"in_flight"` // requests whose methods have not returned, at most Prefetch
}

// counters are what the ServerStats are made of. The code that does a thing counts it.
type counters struct {
	requests, noAddress, refused, expired   atomic.Int64
	replies, undelivered, givenBack         atomic.Int64
	takenOver, dead, deadDropped, leaseLost atomic.Int64
}

func (c *counters) stats() ServerStats {
	return ServerStats{
		Requests:    c.requests.Load(),
		Replies:     c.replies.Load(),
		GivenBack:   c.givenBack.Load(),
		NoAddress:   c.noAddress.Load(),
		Refused:     c.refused.Load(),
		Expired:     c.expired.Load(),
		Undelivered: c.undelivered.Load(),
		TakenOver:   c.takenOver.Load(),
		LeaseLost:   c.leaseLost.Load(),
		Dead:        c.dead.Load(),
		DeadDropped: c.deadDropped.Load(),
	}
}
