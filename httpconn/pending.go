package httpconn

import (
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/micromessaging/jsonrpc2"
)

const maxWaiting = 16 << 20 // bytes of pending requests

// pending are the requests that a ClientConn has accepted and that have not ended. So many are
// posted at once; the others wait in the order in which they came.
type pending struct {
	atOnce int
	idle   chan *jsonrpc2.Request // an idle worker receives its next request

	mu       sync.Mutex // protects following
	closed   bool
	accepted int64 // so far
	bytes    int
	all      map[*jsonrpc2.Request]fate
	waiting  []*jsonrpc2.Request
	posting  int // workers that have a request
}

// A fate says how far a pending request has come.
type fate int

const (
	waits fate = iota // it has not been posted
	posted
)

func newPending(atOnce int) *pending {
	return &pending{atOnce: atOnce, idle: make(chan *jsonrpc2.Request), all: make(map[*jsonrpc2.Request]fate)}
}

// add accepts a request, for an idle worker or to wait. If it reports true, there has to be a
// new worker for the request.
func (p *pending) add(r *jsonrpc2.Request) (unattended bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes+len(r.Body) > maxWaiting {
		p.dropGivenUp()
	}
	switch {
	case p.closed:
		return false, net.ErrClosed
	case p.bytes+len(r.Body) > maxWaiting:
		return false, jsonrpc2.ErrOverloaded
	}
	r.Keep()
	p.accepted++
	p.bytes += len(r.Body)
	p.all[r] = waits
	if p.posting == p.atOnce {
		p.waiting = append(p.waiting, r)
		return false, nil
	}
	p.posting++
	select {
	case p.idle <- r:
		return false, nil
	default:
		return true, nil
	}
}

// dropGivenUp forgets the waiting requests that nobody waits for. It is called with p.mu held.
func (p *pending) dropGivenUp() {
	p.waiting = slices.DeleteFunc(p.waiting, func(r *jsonrpc2.Request) bool {
		if !r.GivenUp() {
			return false
		}
		p.bytes -= len(r.Body)
		delete(p.all, r)
		return true
	})
}

// next returns the request that has waited for longest, nil if none waits: then the worker that
// asked has none.
func (p *pending) next() *jsonrpc2.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.waiting) == 0 {
		p.posting--
		return nil
	}
	r := p.waiting[0]
	p.waiting[0] = nil
	p.waiting = p.waiting[1:]
	return r
}

// begin reports whether a request is still to be posted, and notes that it is.
func (p *pending) begin(r *jsonrpc2.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.GivenUp() {
		return false
	}
	p.all[r] = posted
	return true
}

// end forgets a request.
func (p *pending) end(r *jsonrpc2.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes -= len(r.Body)
	delete(p.all, r)
}

// notRun returns an error for each request that waits, and so does not run any more if it was
// given up.
func (p *pending) notRun(requests []*jsonrpc2.Request) []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := make([]error, len(requests))
	for i, r := range requests {
		if fate, ok := p.all[r]; ok && fate == waits {
			found[i] = fmt.Errorf("%w: it waited for one of %d others to end", jsonrpc2.ErrNotRun, p.atOnce)
		}
	}
	return found
}

func (p *pending) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// failAll fails all requests, with what failure returns.
func (p *pending) failAll(failure func(r *jsonrpc2.Request, f fate) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r, f := range p.all {
		r.Fail(failure(r, f))
	}
}

func (p *pending) stats() ClientStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return ClientStats{
		Requests: p.accepted,
		InFlight: int64(len(p.all)),
		Waiting:  int64(len(p.waiting)),
		Bytes:    int64(p.bytes),
	}
}
