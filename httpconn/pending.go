package httpconn

import (
	"fmt"
	"net"
	"slices"
	"sync"

	"github.com/micromessaging/jsonrpc2"
)

const maxWaiting = 16 << 20 // bytes of pending requests

// pending are the requests that a ClientConn has accepted and not finished. atOnce of them
// are posted at once; the others wait in the order in which they came.
type pending struct {
	atOnce int

	// start hands a request to a worker. It is called with mu held, and never after close:
	// whoever has called close can wait for the workers.
	start func(*jsonrpc2.Request)

	mu       sync.Mutex // protects following
	closed   bool
	accepted int64                       // requests so far
	bytes    int                         // in the bodies of all
	all      map[*jsonrpc2.Request]*fate // those of waiting, and those that workers have
	waiting  []*jsonrpc2.Request         // the oldest first
	posting  int                         // workers that have a request, at most atOnce
}

// A fate says how far a request has come. It is the request's Handle: an inquiry may be about a
// request that is no longer pending. The mu of pending protects it.
type fate int

const (
	waits  fate = iota // nothing was sent
	posted             // something may have been sent
)

func newPending(atOnce int, start func(*jsonrpc2.Request)) *pending {
	return &pending{atOnce: atOnce, start: start, all: make(map[*jsonrpc2.Request]*fate)}
}

// add accepts a request. It hands the request to a worker or, if atOnce workers have one, lets
// it wait. It fails with net.ErrClosed after close, and with ErrOverloaded if too many bytes are
// pending.
func (p *pending) add(r *jsonrpc2.Request) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.bytes+len(r.Body) > maxWaiting {
		p.dropGivenUp()
	}
	switch {
	case p.closed:
		return net.ErrClosed
	case p.bytes+len(r.Body) > maxWaiting:
		return jsonrpc2.ErrOverloaded
	}
	r.Keep()
	p.accepted++
	p.bytes += len(r.Body)
	f := new(fate) // waits
	r.Handle, p.all[r] = f, f
	if p.posting == p.atOnce {
		p.waiting = append(p.waiting, r)
		return nil
	}
	p.posting++
	p.start(r)
	return nil
}

// dropGivenUp forgets the waiting requests whose callers have given up. It is called with
// p.mu held.
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

// next returns the oldest request that waits, for a worker that is done with its last one. It
// returns nil if none waits: the worker is then idle.
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

// begin notes that a request is about to be posted. It reports false if the request has ended
// already, and need not be posted.
func (p *pending) begin(r *jsonrpc2.Request) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.GivenUp() {
		return false
	}
	*p.all[r] = posted
	return true
}

// end forgets a request that a worker is done with.
func (p *pending) end(r *jsonrpc2.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes -= len(r.Body)
	delete(p.all, r)
}

// notRun returns an error for each of the requests that was not posted. They were given up,
// so begin will not let them be posted.
func (p *pending) notRun(requests []*jsonrpc2.Request) []error {
	p.mu.Lock()
	defer p.mu.Unlock()
	found := make([]error, len(requests))
	for i, r := range requests {
		if f, ok := r.Handle.(*fate); ok && *f == waits {
			found[i] = fmt.Errorf("%w: it waited for one of %d others to end", jsonrpc2.ErrNotRun, p.atOnce)
		}
	}
	return found
}

// close makes add fail.
func (p *pending) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
}

// failAll fails all requests, each with the error that failure returns.
func (p *pending) failAll(failure func(r *jsonrpc2.Request, f fate) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for r, f := range p.all {
		r.Fail(failure(r, *f))
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
