package amqpconn

import (
	"context"
	"sync/atomic"
)

// places limit the requests that are taken and not answered: each has a place. The broker's
// own limit, the prefetch, is not enough. It holds for one connection: after a reconnect the
// requests of the old connection may still run. With jsonrpc2.AtMostOnce it limits nothing:
// requests are acknowledged before they run.
type places struct {
	taken   chan struct{} // has an element for each place that is taken
	hasNext bool          // a place is taken for the next request; the reading goroutine's own
	used    atomic.Int64  // places that requests have
}

// take takes a place for the next request, and waits until one is free. It reports false
// if ctx is done, or closed is closed, before.
func (p *places) take(ctx context.Context, closed <-chan struct{}) bool {
	if p.hasNext {
		return true
	}
	select {
	case p.taken <- struct{}{}:
		p.hasNext = true
	case <-closed:
	case <-ctx.Done():
	}
	return p.hasNext
}

// use gives the place that take took to a request.
func (p *places) use() {
	p.hasNext = false
	p.used.Add(1)
}

// free frees the places of n requests.
func (p *places) free(n int) {
	p.used.Add(int64(-n))
	for range n {
		<-p.taken
	}
}
