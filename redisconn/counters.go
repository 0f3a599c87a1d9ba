package redisconn

import "sync/atomic"

// counters are what the Stats of a ServerConn are made of. Whoever does a thing counts it.
type counters struct {
	requests, noAddress, refused, expired   atomic.Int64
	replies, undelivered, givenBack         atomic.Int64
	takenOver, dead, deadDropped, leaseLost atomic.Int64
}

func (c *counters) stats(reconnects int64) Stats {
	return Stats{
		Requests:    c.requests.Load(),
		Replies:     c.replies.Load(),
		Reconnects:  reconnects,
		GivenBack:   c.givenBack.Load(),
		TakenOver:   c.takenOver.Load(),
		Expired:     c.expired.Load(),
		NoAddress:   c.noAddress.Load(),
		Refused:     c.refused.Load(),
		Undelivered: c.undelivered.Load(),
		LeaseLost:   c.leaseLost.Load(),
		Dead:        c.dead.Load(),
		DeadDropped: c.deadDropped.Load(),
	}
}
