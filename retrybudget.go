package jsonrpc2

import (
	"math"
	"sync/atomic"
	"time"
)

// A retryBudget says how many requests may be sent again: one for every retryPrice recent
// requests, and besides retryReserveRate a second. The Conn's mu protects it.
type retryBudget struct {
	requests float64   // the recent ones, less retryPrice for each that was sent again
	reserve  float64   // how many may be sent again besides
	at       time.Time // when both were last brought up to date
}

const (
	retryPrice       = 10               // requests
	retryMemory      = 10 * time.Second // the older a request, the less it counts: after this time 1/e
	retryReserveRate = 10               // a second
	maxRetryReserve  = 100              // what a pause of 10 s saves
)

func newRetryBudget() retryBudget { return retryBudget{reserve: maxRetryReserve} }

// deposit notes a request that the client has made.
func (b *retryBudget) deposit(now time.Time) {
	b.update(now)
	b.requests++
}

// withdraw reports whether a request may be sent again, and pays for it.
func (b *retryBudget) withdraw(now time.Time) bool {
	b.update(now)
	switch {
	case b.requests >= retryPrice:
		b.requests -= retryPrice
	case b.reserve >= 1:
		b.reserve--
	default:
		return false
	}
	return true
}

// update brings the budget up to date. Within a thousandth of retryMemory nothing changes
// that matters.
func (b *retryBudget) update(now time.Time) {
	passed := now.Sub(b.at)
	if passed < retryMemory/1000 {
		return
	}
	b.at = now
	b.requests *= math.Exp(-passed.Seconds() / retryMemory.Seconds())
	b.reserve = min(b.reserve+retryReserveRate*passed.Seconds(), maxRetryReserve)
}

// RetryStats count what a [Retry] does. The zero value is ready: put its address into
// RetryOptions, of one client or of several to count them together. It must not be copied.
// Any goroutine may call its methods. It is published as [ClientStats] are.
type RetryStats struct {
	requests, resent, repeated, withheld atomic.Int64
}

// RetryCounts are what RetryStats have counted. The Conn gets Requests + Resent + Repeated
// tries, less those whose request ends just before. All only rise.
type RetryCounts struct {
	Requests int64 `json:"requests"` // calls, notifications and batches that came from the client
	Resent   int64 `json:"resent"`   // sent again after a try that certainly did not run
	Repeated int64 `json:"repeated"` // sent again after a try that may have run
	Withheld int64 `json:"withheld"` // tries that were put off, since they would have exceeded the budget
}

// Snapshot returns what has been counted so far.
func (s *RetryStats) Snapshot() RetryCounts {
	return RetryCounts{
		Requests: s.requests.Load(),
		Resent:   s.resent.Load(),
		Repeated: s.repeated.Load(),
		Withheld: s.withheld.Load(),
	}
}
