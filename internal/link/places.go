package link

import (
	"sync"

	"github.com/micromessaging/jsonrpc2/internal/yield"
)

// Places limit the requests that were fetched from a broker and are not settled: each has a
// place. One goroutine calls Wait, any goroutine the other methods.
type Places struct {
	all   int
	freed chan struct{} // receives if there may be a free place

	mu   sync.Mutex // protects following
	free int
}

// NewPlaces returns n free places.
func NewPlaces(n int) *Places {
	return &Places{all: n, freed: make(chan struct{}, 1), free: n}
}

// Wait waits for free places and returns their number, or 0 once done is closed. If some
// places are taken, it first yields to requests that are about to free theirs, so that many
// requests are fetched in one go.
func (p *Places) Wait(done <-chan struct{}) int {
	for {
		select {
		case <-done:
			return 0
		default:
		}
		if free := p.countFree(); 0 < free && free < p.all {
			yield.WhileGrowing(p.countFree)
		}
		if free := p.countFree(); free > 0 {
			return free
		}
		select {
		case <-p.freed:
		case <-done:
		}
	}
}

// Taken returns how many places are taken.
func (p *Places) Taken() int { return p.all - p.countFree() }

func (p *Places) countFree() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.free
}

// Take takes n places. They may be more than Wait has returned: the next Wait then waits for
// longer.
func (p *Places) Take(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.free -= n
}

// Free frees n places.
func (p *Places) Free(n int) {
	p.mu.Lock()
	p.free += n
	p.mu.Unlock()
	Signal(p.freed)
}
