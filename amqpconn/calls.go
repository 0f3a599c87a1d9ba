package amqpconn

import "sync"

// calls are the requests that were published, want an answer, and have none yet.
type calls struct {
	mu    sync.Mutex // protects following
	byID  map[string]request
	sweep int // when there are so many, add drops those that were given up
}

// minSweep is the first sweep. The later ones grow with the calls that are left, so that
// sweeping costs each call little.
const minSweep = 1024

func newCalls() *calls {
	return &calls{byID: make(map[string]request), sweep: minSweep}
}

// add adds a call. Now and then it drops all that were given up: their answers may never
// come.
func (c *calls) add(r request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byID[r.id] = r
	if len(c.byID) < c.sweep {
		return
	}
	for id, r := range c.byID {
		if r.GivenUp() {
			delete(c.byID, id)
		}
	}
	c.sweep = 2*len(c.byID) + minSweep
}

// remove removes a call and returns it. It reports whether the call was there.
func (c *calls) remove(id string) (request, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.byID[id]
	delete(c.byID, id)
	return r, ok
}

// removeAll removes all calls, and returns those whose callers still wait.
func (c *calls) removeAll() (all []request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, r := range c.byID {
		if !r.GivenUp() {
			all = append(all, r)
		}
		delete(c.byID, id)
	}
	return all
}

// removeBehind removes the calls that were published on a session, but not those among its
// first so many messages. It returns the removed ones whose callers still wait.
func (c *calls) removeBehind(session *publishSession[request], messages int64) (behind []request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, r := range c.byID {
		if r.session != session || r.number <= messages {
			continue
		}
		delete(c.byID, id)
		if !r.GivenUp() {
			behind = append(behind, r)
		}
	}
	return behind
}
