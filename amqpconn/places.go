package amqpconn

import (
	"context"
	"sync/atomic"
)

// places hold one for each request that is not answered. The broker limits those of
// each connection alone, and none with jsonrpc2.AtMostOnce.
type places struct {
	taken   chan struct{} // a receive frees one
	hasNext bool          // one is taken for the next request; the reading goroutine's own
	used    atomic.Int64  // by requests
}

// take waits for a place for the next request. It is false once ctx is done. Once
// closed there need not be a place: nothing more is read.
func (p *places) take(ctx context.Context, closed <-chan struct{}) bool {
	if p.hasNext {
		return true
	}
	select {
	case p.taken <- struct{}{}:
		p.hasNext = true
	case <-closed:
		return true
	case <-ctx.Done():
	}
	return p.hasNext
}

// use gives the place that was taken to a request.
func (p *places) use() {
	p.hasNext = false
	p.used.Add(1)
}

// free frees places.
func (p *places) free(n int) {
	p.used.Add(int64(-n))
	for range n {
		<-p.taken
	}
}
