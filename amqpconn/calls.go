package amqpconn

import "sync"

// calls are the requests that were published and not answered.
type calls struct {
	mu    sync.Mutex // protects following
	byID  map[string]request
	sweep int // when there are so many, look for those given up
}

const minSweep = 1024

func newCalls() *calls {
	return &calls{byID: make(map[string]request), sweep: minSweep}
}

func (c *calls) add(r request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byID[r.id] = r
	if len(c.byID) < c.sweep {
		return
	}
	for id, r := range c.byID {
		if r.ctx.Err() != nil {
			delete(c.byID, id)
		}
	}
	c.sweep = 2*len(c.byID) + minSweep
}

func (c *calls) take(id string) (request, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.byID[id]
	delete(c.byID, id)
	return r, ok
}

func (c *calls) takeAll() (all []request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, r := range c.byID {
		if r.ctx.Err() == nil {
			all = append(all, r)
		}
		delete(c.byID, id)
	}
	return all
}

// takeBehind takes the calls that were published on a session after so many
// messages.
func (c *calls) takeBehind(session *publishing[string], messages int64) (behind []request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, r := range c.byID {
		if r.session != session || r.number <= messages {
			continue
		}
		delete(c.byID, id)
		if r.ctx.Err() == nil {
			behind = append(behind, r)
		}
	}
	return behind
}
