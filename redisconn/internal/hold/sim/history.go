package sim

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A Simulator runs histories, one at a time. It keeps the compiled scripts between them.
type Simulator struct{ machine *machine }

// New returns a Simulator.
func New() *Simulator { return &Simulator{newMachine()} }

// A Result is the result of a history.
type Result struct {
	Violation  *Violation // nil: every invariant held
	Transcript string     // empty unless Options.Transcript is set
	Scripts    int        // how many scripts were run
}

// Run runs the history of a seed, up to its end or the first violation.
func (s *Simulator) Run(seed uint64, opts Options) Result {
	h := newHistory(s.machine, seed, opts)
	h.plan()
	for h.violation == nil && !h.over {
		if !h.step() {
			h.fail(Stuck, "nothing happens any more")
		}
	}
	for _, p := range h.processes {
		p.kill()
	}
	return Result{h.violation, h.transcript.String(), h.scripts}
}

// Options are the options of a history.
type Options struct {
	Flaw       *Flaw      // the flaw that is put back; nil: none
	Theme      Theme      // which faults happen; nil: the seed chooses
	Transcript bool       // tell what happened
	Record     func(Step) // called for each step of the queue's Redis; may be nil
}

// A Step is a script or a command that took effect. A Step without either says that the node has
// lost some of the writes before.
type Step struct {
	Time    time.Duration // of the node's clock
	Script  *hold.Script
	Keys    []string
	Args    []any
	Command []string
	Reply   any // may be an error
}

// A history is all that happens to one queue. It belongs to the goroutine of Run.
type history struct {
	schedule
	seed    uint64
	rng     *rand.Rand // of the seed: the only source of chance
	machine *machine
	flaw    *Flaw
	keys    hold.Keys

	parts
	shape
	rates   rates
	weights map[Fault]float64 // how frequent each is; 0: it does not happen

	// One follows the other: the faults have ended, nothing is left to do, all servers have
	// left.
	healed, ending, over bool
	healedAt             time.Duration

	checker
	record
}

// parts are the processes, requests and nodes of a history.
type parts struct {
	processes []*process
	alive     []*server
	clients   []*client
	requests  []*request
	byBody    map[string]*request
	byName    map[string]*request // the answer to a request is its name
	redis     *node               // has the queue
	remote    *node               // has the reply lists; nil: the queue's node has them
	servers   int                 // started so far
}

// A record is what a history keeps for its Result and for Options.Record.
type record struct {
	scripts, calls int
	recorder       func(Step)
	transcribes    bool
	transcript     strings.Builder
}

// A shape is the sizes, times and limits of a history.
type shape struct {
	lease         time.Duration   // of most servers; the unit of most times
	leases        []time.Duration // of the servers, in turn
	block         time.Duration
	readTimeout   time.Duration
	retries       int
	maxStarts     int
	maxDead       int
	poison        float64       // the share of the requests that kill their servers
	mayNotUnblock bool          // the servers have no right to CLIENT UNBLOCK
	length        time.Duration // after this all faults end
}

func newHistory(m *machine, seed uint64, opts Options) *history {
	h := &history{
		seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), machine: m, flaw: opts.Flaw,
		keys: hold.Keys{Queue: "queue", Own: "{queue}:"},
	}
	h.byBody, h.byName = make(map[string]*request), make(map[string]*request)
	h.transcribes, h.recorder = opts.Transcript, opts.Record
	h.checker.gens = make(map[string]*generation)
	h.redis = h.newNode()
	h.shape = h.newShape()
	h.horizon = h.length + 20*time.Minute
	h.weigh(opts.Theme)
	return h
}

func (h *history) newNode() *node {
	r := &node{h: h, offset: 1_790_000_000*time.Second + time.Duration(h.rng.Int64N(int64(time.Hour)))}
	r.store.rng, r.store.rows = h.rng, h.keys.Own+"workers"
	return r
}

func (h *history) newShape() shape {
	lease := pick(h, 200*time.Millisecond, time.Second, time.Second, 3*time.Second)
	s := shape{
		lease:         lease,
		block:         pick(h, lease/2, 2*lease, 5*time.Second),
		readTimeout:   pick(h, lease/2, lease, 3*time.Second),
		retries:       pick(h, 0, 1, 3),
		maxStarts:     1 + h.rng.IntN(3),
		maxDead:       pick(h, 1, 1000, 1000),
		mayNotUnblock: h.chance(0.1),
		length:        12 * lease,
	}
	differ := h.chance(0.25)
	for range 4 {
		s.leases = append(s.leases, lease)
		if differ {
			s.leases[len(s.leases)-1] = pick(h, lease/2, lease, 2*lease)
		}
	}
	if h.chance(0.25) {
		s.poison = 0.3
	}
	return s
}

// plan schedules what happens: the servers' starts, the clients' pushes, the faults.
func (h *history) plan() {
	if h.chance(0.2) {
		h.remote = h.newNode()
	}
	for range 1 + h.rng.IntN(3) {
		h.after(h.between(0, h.lease), func() { h.startServer() })
	}
	if h.chance(0.15) {
		p := h.newProcess("popper")
		p.spawn(func() { h.pop(p) })
	}
	for range 1 + h.rng.IntN(3) {
		c := h.newClient()
		if h.chance(0.05) { // its reply list is no list, so no answer can be pushed
			command := []string{"SET", c.list, ""}
			h.keep(h.redis, Step{Command: command, Reply: h.redis.do(command)})
		}
	}
	h.planRequests()
	h.planFaults()
	h.after(h.length, h.heal)
	h.after(h.lease/2, h.tick)
}

// planRequests schedules the requests of the clients, some of them many at once.
func (h *history) planRequests() {
	for left := 5 + h.rng.IntN(16); left > 0; {
		at := h.between(0, h.length)
		together := min(left, pick(h, 1, 2, 5, 10))
		left -= together
		for range together {
			c := h.clients[h.rng.IntN(len(h.clients))]
			r := c.newRequest()
			h.byName[r.name] = r
			wait := pick(h, h.lease/2, 3*h.lease, 8*h.lease)
			h.after(at+h.between(0, 5*time.Millisecond), func() {
				c.spawn(func() { c.call(r, wait) })
			})
		}
	}
}

// runTime returns how long a request runs.
func (h *history) runTime() time.Duration {
	return h.between(0, pick(h, time.Millisecond, time.Millisecond, h.lease/4, 3*h.lease))
}

// leaseOf returns the lease of the nth server.
func (h *history) leaseOf(n int) time.Duration { return h.leases[n%len(h.leases)] }

func (h *history) maxLease() time.Duration {
	longest := h.lease
	for _, lease := range h.leases {
		longest = max(longest, lease)
	}
	return longest
}

func (h *history) newProcess(name string) *process {
	p := &process{s: &h.schedule, name: name}
	h.processes = append(h.processes, p)
	return p
}

func (h *history) chance(p float64) bool { return p > 0 && h.rng.Float64() < p }

func (h *history) between(low, high time.Duration) time.Duration {
	return low + time.Duration(h.rng.Int64N(int64(high-low)+1))
}

// travelTime returns how long a message takes if nothing is wrong.
func (h *history) travelTime() time.Duration { return h.between(20*time.Microsecond, latency) }

// pause returns how long a process waits after an error.
func (h *history) pause() time.Duration { return h.between(h.lease/100, h.lease/10) }

func pick[T any](h *history, values ...T) T { return values[h.rng.IntN(len(values))] }

// note records a step of a call, if there is a transcript.
func (h *history) note(c *call, what string, details ...any) {
	if !h.transcribes {
		return
	}
	subject := fmt.Sprint(c.command)
	if c.script != nil {
		subject = fmt.Sprint(c.args)
	}
	if c.move > 0 {
		subject = "after a move " + subject
	}
	h.tell(c.from.name, append([]any{fmt.Sprintf("#%d %s %.200s: %s", c.number, c.name, subject, what)}, details...)...)
}

// tell records what happens, if there is a transcript.
func (h *history) tell(who string, what ...any) {
	if h.transcribes {
		fmt.Fprintf(&h.transcript, "%11.6f %-6s %s", h.now.Seconds(), who, fmt.Sprintln(what...))
	}
}

// keep hands a step to the recorder, if there is one and the step is of the queue's node.
func (h *history) keep(r *node, s Step) {
	if h.recorder != nil && r == h.redis {
		s.Time = r.store.time
		h.recorder(s)
	}
}
