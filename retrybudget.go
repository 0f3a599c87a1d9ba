package jsonrpc2

import (
	"math"
	"sync/atomic"
	"time"
)

// A retryBudget says how many requests may be sent again.
type retryBudget struct {
	requests float64 // the recent ones, less those that were paid with
	reserve  float64 // what is allowed besides
	at       time.Time
}

const (
	retryPrice       = 10               // requests
	retryMemory      = 10 * time.Second // requests count less, the older they are
	retryReserveRate = 10               // a second
	maxRetryReserve  = 100
)

func newRetryBudget() retryBudget { return retryBudget{reserve: maxRetryReserve} }

// deposit notes a request.
func (b *retryBudget) deposit(now time.Time) {
	b.settle(now)
	b.requests++
}

// withdraw reports whether a request may be sent again. It then counts.
func (b *retryBudget) withdraw(now time.Time) bool {
	b.settle(now)
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

// settle lets the time pass until now.
func (b *retryBudget) settle(now time.Time) {
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

// RetryCounts are what RetryStats have counted. The tries are Requests + Resent + Repeated,
// less those that were still waiting when their request ended. All only rise.
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
