package link

import "sync"

// Places are the places for requests that were fetched and are not settled.
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

// Wait waits for free places and returns their number, or 0 once done is closed.
func (p *Places) Wait(done <-chan struct{}) int {
	for {
		select {
		case <-done:
			return 0
		default:
		}
		p.mu.Lock()
		free := p.free
		p.mu.Unlock()
		if free > 0 {
			return free
		}
		select {
		case <-p.freed:
		case <-done:
		}
	}
}

// Taken returns how many places are taken.
func (p *Places) Taken() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.all - p.free
}

// Take takes n places, which Wait said are free.
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
