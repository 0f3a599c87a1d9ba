package jsonrpc2

import "sync/atomic"

// RedialStats are what a RedialConn has done. A batch is one message. All but Bytes only rise.
type RedialStats struct {
	Requests   int64 `json:"requests"`    // request messages that were given to a connection
	Replies    int64 `json:"replies"`     // messages with answers that were read
	Connects   int64 `json:"connects"`    // connections made, the first one included
	DialErrors int64 `json:"dial_errors"` // tries that failed
	Reconnects int64 `json:"reconnects"`  // times the connection failed and worked again

	// Lost counts requests that failed with ErrReplyLost as their connection ended. Those of
	// which nothing was written fail with ErrUnavailable, and are in Requests only.
	Lost int64 `json:"lost"`

	// These count request messages that were given to no connection.
	Unsent     int64 `json:"unsent"`     // waited in vain, or until Close
	Expired    int64 `json:"expired"`    // their callers gave up first
	Overloaded int64 `json:"overloaded"` // refused because 16 MiB waited

	Bytes int64 `json:"bytes"` // of requests that wait for a connection, at most 16 MiB; a gauge
}

// redialCounters are what RedialStats are made of.
type redialCounters struct {
	requests, replies, connects, dialErrors atomic.Int64
	lost, unsent, expired, overloaded       atomic.Int64
}

// Stats returns what the Conn has done so far.
func (c *RedialConn) Stats() RedialStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return RedialStats{
		Requests:   c.count.requests.Load(),
		Replies:    c.count.replies.Load(),
		Connects:   c.count.connects.Load(),
		DialErrors: c.count.dialErrors.Load(),
		Reconnects: c.log.Recoveries.Load(),
		Lost:       c.count.lost.Load(),
		Unsent:     c.count.unsent.Load(),
		Expired:    c.count.expired.Load(),
		Overloaded: c.count.overloaded.Load(),
		Bytes:      int64(c.waiting.bytes),
	}
}
