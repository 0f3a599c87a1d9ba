package sim

import (
	"fmt"
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A client is a process that pushes requests and reads their answers.
type client struct {
	*process
	h    *history
	list string // the client's reply list
	mute bool   // it reads no answers
}

// A request is one that a client pushes, and what the checker knows of it.
type request struct {
	name, body string
	client     *client
	runs       time.Duration // for how long
	poisonous  bool          // kills its server
	silent     bool          // wants no answer
	heard      bool          // the client has its answer
	answered   signal        // wakes the client's task that waits for the answer

	place     place         // where it is, by the last scan
	next      place         // where the scan under way has found it
	count     int           // how many places that scan has found
	waits     time.Duration // since when it has been where a server could take it
	starts    int           // how often it was started
	reaped    int           // how often it was taken over from a silent server
	answers   int           // how often it was answered
	withdrawn bool
	over      bool // its client does no more for it
}

func (h *history) newClient() *client {
	name := fmt.Sprintf("c%d", len(h.clients)+1)
	c := &client{process: h.newProcess(name), h: h, list: "reply:" + name, mute: h.chance(0.1)}
	h.clients = append(h.clients, c)
	return c
}

// newRequest makes a request with a body of its own, by which it is known.
func (c *client) newRequest() *request {
	h := c.h
	r := &request{name: fmt.Sprintf("r%d", len(h.requests)+1), client: c, runs: h.runTime()}
	blanks := ""
	if h.chance(0.2) { // hostile text where a script might look for a separator
		blanks = "  \n "
	}
	r.body = blanks + `{"n":"` + r.name + `"}`
	r.silent = h.chance(0.15)
	r.poisonous = h.chance(h.poison)
	h.requests = append(h.requests, r)
	h.byBody[r.body] = r
	return r
}

// call pushes a request, and waits for its answer until a deadline. Then it withdraws the
// request.
func (c *client) call(r *request, wait time.Duration) {
	h := c.h
	deadline := h.now + wait
	_, err := h.try(c.command("push", r, "LPUSH", h.keys.Queue, r.body), h.readTimeout)
	switch {
	case isRefusal(err), err == nil && r.silent:
		r.over = true
		return
	}
	for !r.heard && h.now < deadline {
		c.wait(&r.answered, deadline-h.now)
	}
	if !r.heard {
		_, _ = h.do(func() *call {
			return c.command("withdraw", r, "LREM", h.keys.Queue, "1", r.body)
		}, h.readTimeout, h.retries)
	}
	r.over = true
}

// command returns a call of a plain command that is about one request.
func (c *client) command(name string, r *request, command ...string) *call {
	return &call{from: c.process, node: c.h.redis, name: name, path: hold.Mending, command: command, about: []*request{r}}
}

// deliver brings the answers of a node to the clients that read them.
func (h *history) deliver(r *node) {
	for _, c := range h.clients {
		if c.mute {
			continue
		}
		e := r.find(c.list)
		if e == nil || e.kind != isList {
			continue
		}
		for _, text := range e.list {
			of := h.byName[text]
			if of == nil { // dead
				continue
			}
			c.after(h.travelTime(), func() {
				of.heard = true
				of.answered.Set()
			})
		}
		h.keep(r, Step{Command: []string{"DEL", c.list}, Reply: r.do([]string{"DEL", c.list})})
	}
}

// pop is the loop of a popper: a process that pops requests as servers with AtMostOnce, and those
// that are not of redisconn, do. No invariant is about a request that it has popped.
func (h *history) pop(p *process) {
	for !h.ending {
		c := func() *call {
			return &call{from: p, node: h.redis, name: "pop", path: hold.Fetching, command: []string{"BRPOP", h.keys.Queue}, move: h.block}
		}
		reply, err := h.do(c, h.readTimeout+h.block, h.retries)
		if err != nil {
			p.sleep(h.pause())
			continue
		}
		if body, ok := reply.(string); ok {
			r := h.requestOf(body)
			p.sleep(r.runs)
			_, _ = h.try(&call{from: p, node: h.redis, name: "answer", command: []string{"RPUSH", r.client.list, r.name}, path: hold.Mending}, h.readTimeout)
		}
	}
}
