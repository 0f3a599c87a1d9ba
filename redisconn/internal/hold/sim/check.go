package sim

import (
	"fmt"
	"strings"
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A Kind is the invariant that a Violation breaks.
type Kind string

const (
	// These hold in every history.
	Doubled      Kind = "a request is in two places"
	Vanished     Kind = "a request vanished"
	Appeared     Kind = "a request appeared from nowhere"
	WrongMove    Kind = "a request was moved where this command moves none"
	WrongRequest Kind = "a request was settled for another"
	Stray        Kind = "a hash holds what belongs to nothing"
	NoRow        Kind = "a generation holds requests without a row"
	Stuck        Kind = "a request is not served though all is well"
	Leftover     Kind = "something is left in the end"
	ScriptFailed Kind = "a script failed"

	// These hold in a history in which no write is undone.
	NotHeld          Kind = "a request was started that was not held"
	StartedTooOften  Kind = "a request was started too often"
	Miscounted       Kind = "a request's starts were miscounted"
	DeadEarly        Kind = "a request was given up too early"
	StartedWithdrawn Kind = "a request was started that was withdrawn"
	AnsweredTwice    Kind = "a request was answered twice"
	Unanswered       Kind = "an answer and its settling were not one"
	ReapedEarly      Kind = "a generation was taken over within its lease"
	ReapedHealthy    Kind = "a generation was taken over though nothing had happened to its server"
)

// A Violation is an invariant that did not hold.
type Violation struct {
	Kind Kind
	Seed uint64
	At   time.Duration
	Text string
}

func (v *Violation) Error() string {
	return fmt.Sprintf("seed %d, at %.6f s: %s: %s", v.Seed, v.At.Seconds(), v.Kind, v.Text)
}

// A checker is what the checks need to know.
type checker struct {
	violation *Violation // the first one
	lossy     bool       // writes were undone
	gens      map[string]*generation

	// Noted before a call, for the check after it.
	pushed int    // of a settle: the answers in the list
	row    string // of a reap: the row of the generation

	outages time.Duration // until then all servers have a reason not to serve
}

// A generation is what a join made.
type generation struct {
	server *server       // nil: it was dead by then
	beat   time.Duration // when the last beat, or the join, was executed
	beats  int
}

// fail notes a violation, which ends the history. Only the first one counts.
func (h *history) fail(kind Kind, format string, args ...any) {
	if h.violation == nil {
		h.violation = &Violation{kind, h.seed, h.now, fmt.Sprintf(format, args...)}
		h.tell("", h.violation.Error())
	}
}

// outage notes that all servers have a reason not to serve, until a moment.
func (h *history) outage(until time.Duration) { h.outages = max(h.outages, until) }

// before checks a call before it is executed, and notes what the check after it needs.
func (h *history) before(c *call) {
	if c.node != h.redis {
		return
	}
	switch c.name {
	case "settle", "claim", "drop":
		h.checkFields(c)
		if c.name == "settle" {
			h.pushed = len(h.redis.list(c.keys[0]))
		}
	case "reap":
		h.row, _ = get(h.redis.hash(h.keys.Own+"workers"), argument(c.args[0]))
	}
}

// checkFields checks a call that settles: each of its fields must hold the request that the
// server means, if it holds one.
func (h *history) checkFields(c *call) {
	held := h.redis.hash(c.heldKey())
	for i, of := range c.about {
		body, ok := get(held, c.fieldOf(i))
		if ok && h.byBody[body] != of {
			h.fail(WrongRequest, "%s settles %s as %s, having run %s", c.from.name, h.byBody[body].name, c.fieldOf(i), of.name)
		}
	}
}

// heldKey returns the key of the hash in which a call settles.
func (c *call) heldKey() string {
	switch c.name {
	case "settle":
		return c.keys[1]
	case "claim":
		return c.keys[0]
	}
	return c.command[1]
}

// fieldOf returns the field of the ith request that a call settles.
func (c *call) fieldOf(i int) string {
	switch c.name {
	case "settle":
		return argument(c.args[3+len(c.about)+i])
	case "claim":
		return argument(c.args[i])
	}
	return c.command[2+3*i]
}

// executed checks what a call has done, and brings new answers to the clients.
func (h *history) executed(c *call, reply any) {
	if err, ok := reply.(scriptError); ok {
		h.fail(ScriptFailed, "%s: %v", c.name, err)
		return
	}
	if c.node != h.redis {
		h.deliver(c.node)
		return
	}
	switch c.name {
	case "join":
		if result, ok := reply.([]any); ok && result[0] == "joined" {
			h.gens[result[1].(string)] = &generation{server: h.serverOf(c.from), beat: h.now}
		}
	case "beat":
		if g := h.gens[argument(c.args[0])]; g != nil && reply.([]any)[0] == "beat" {
			g.beat = h.now
			g.beats++
		}
	case "settle":
		h.checkAnswers(c, reply)
	case "reap":
		h.checkReap(c)
	}
	h.compare(c, c.name)
	h.deliver(h.redis)
}

// checkAnswers checks that a settle has pushed an answer for each request that it has settled, and
// no other. An answer to a dead request settles none.
func (h *history) checkAnswers(c *call, reply any) {
	if _, refused := reply.(error); refused {
		return
	}
	settled := 0
	for i, of := range c.about {
		if c.fieldOf(i) == "" {
			settled++
			continue
		}
		if of.place.kind == held && of.place.field == c.fieldOf(i) && of.place.key == c.heldKey() {
			settled++
			of.answers++
			if of.answers > 1 && !h.lossy {
				h.fail(AnsweredTwice, "%s", of.name)
			}
		}
	}
	if pushed := len(h.redis.list(c.keys[0])) - h.pushed; pushed != settled {
		h.fail(Unanswered, "%d answers pushed, %d requests settled", pushed, settled)
	}
}

// checkReap checks, when a reap has begun to take over a generation, that it may.
func (h *history) checkReap(c *call) {
	gen := argument(c.args[0])
	row, ok := get(h.redis.hash(h.keys.Own+"workers"), gen)
	g := h.gens[gen]
	if h.row == "" || h.row == "gone" || ok && row == h.row || h.lossy || g == nil || g.server == nil {
		return
	}
	h.tell(c.from.name, "takes over", gen)
	lease := max(g.server.lease, h.leaseOfProcess(c.from))
	switch {
	case h.now-g.beat < lease:
		h.fail(ReapedEarly, "%s by %s, %v after a beat", gen, c.from.name, h.now-g.beat)
	case g.beats > 0 && !g.server.stopped && !g.server.dead && !g.server.draining && g.server.beatTroubled < g.beat-lease/2:
		h.fail(ReapedHealthy, "%s by %s, %v after a beat", gen, c.from.name, h.now-g.beat)
	}
}

// leaseOfProcess returns the lease of the server that a process is, 0 if it is dead.
func (h *history) leaseOfProcess(p *process) time.Duration {
	if s := h.serverOf(p); s != nil {
		return s.lease
	}
	return 0
}

// started checks that a server may start a request, and returns it.
func (h *history) started(s *server, r *hold.Request) *request {
	of := h.requestOf(r.Body)
	h.tell(s.name, "starts", of.name, "started before", r.Starts)
	if !h.lossy {
		switch {
		case of.place.kind != held || of.place.key != h.keys.Own+"held:"+r.Gen():
			h.fail(NotHeld, "%s by %s: it is %v", of.name, s.name, of.place)
		case of.starts >= h.maxStarts:
			h.fail(StartedTooOften, "%s by %s, the %dth time", of.name, s.name, of.starts+1)
		case of.withdrawn:
			h.fail(StartedWithdrawn, "%s by %s", of.name, s.name)
		case r.Starts < of.starts || r.Starts > of.reaped:
			h.fail(Miscounted, "%s was started %d times and taken over %d times, and is said to have been started %d times", of.name, of.starts, of.reaped, r.Starts)
		}
	}
	of.starts++
	return of
}

// requestOf returns the request that has a body.
func (h *history) requestOf(body string) *request {
	r := h.byBody[body]
	if r == nil {
		panic(fmt.Sprintf("seed %d: %q is no request's body", h.seed, body))
	}
	return r
}

// waitBound is how long a request may wait while a server is well and has nothing to do.
func (h *history) waitBound() time.Duration {
	bound := 2*h.maxLease() + 2*time.Second + h.lease/2
	if h.mayNotUnblock {
		bound += h.block
	}
	return bound
}

// checkWaits checks that no request waits for longer than waitBound while a server could take it.
func (h *history) checkWaits() {
	var idle time.Duration // since when some server has been well without a request; -1: none is
	idle = -1
	for _, s := range h.alive {
		if s.inHand > 0 || s.stopped || s.draining || s.trying {
			s.busy = h.now
			continue
		}
		since := max(s.busy, s.troubled, h.outages)
		if idle < 0 || since < idle {
			idle = since
		}
	}
	if idle < 0 {
		return
	}
	for _, r := range h.requests {
		since, waits := h.waitsSince(r)
		if waits && h.now-max(since, idle) > h.waitBound() {
			h.fail(Stuck, "%s is %v for %v, a server has had nothing to do for %v", r.name, r.place, h.now-since, h.now-idle)
		}
	}
}

// waitsSince reports whether a request waits for a server, and returns since when. A request that
// is held waits if its server is dead or does not know that it holds it.
func (h *history) waitsSince(r *request) (since time.Duration, waits bool) {
	switch r.place.kind {
	case queued, ready, suspect:
		return r.waits, true
	case held:
		gen := strings.TrimPrefix(r.place.key, h.keys.Own+"held:")
		g := h.gens[gen]
		switch {
		case g == nil || g.server == nil:
		case g.server.dead:
			return max(r.waits, g.server.died), true
		case g.server.has[r] == 0: // it does not know of it
			return max(r.waits, g.server.troubled), !g.server.stopped && !g.server.draining
		}
	}
	return 0, false
}

// checkEnd checks that only dead requests and answers are left.
func (h *history) checkEnd() {
	for _, e := range h.redis.entries {
		if e.key != h.keys.Dead() && !strings.HasPrefix(e.key, "reply:") {
			h.fail(Leftover, "%s has %v%v", e.key, e.list, e.fields)
		}
	}
}
