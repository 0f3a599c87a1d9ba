package sim

import (
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// rates are the probabilities of the faults of a single call.
type rates struct {
	slow       float64 // it takes up to half a lease longer
	late       float64 // it arrives up to three leases later, when its sender may have given up
	lostBefore float64
	lostAfter  float64
}

// latest is how many leases late a call may be.
const latest = 3

// A Fault is a kind of fault.
type Fault string

const (
	// Of a call: see rates.
	Slow       Fault = "slow"
	Late       Fault = "late"
	LostBefore Fault = "lost before"
	LostAfter  Fault = "lost after"

	// Of a server, which runs again after a Stop and a Cut.
	Stop  Fault = "stop"
	Kill  Fault = "kill"
	Drain Fault = "drain"
	Cut   Fault = "cut"

	// Of the queue's Redis.
	Stall     Fault = "stall"
	Restart   Fault = "restart"
	ClockStep Fault = "step"
	Full      Fault = "full" // it has no memory

	RemoteDown Fault = "remote down" // the Redis with the reply lists

	// Of the queue's Redis, with the loss of the last writes.
	LossRestart Fault = "restart with loss"
	Failover    Fault = "failover" // to a node with another clock
)

// faults are all faults. The last two undo writes: weigh relies on that.
var faults = []Fault{
	Slow, Late, LostBefore, LostAfter, Stop, Kill, Drain, Cut, Stall, Restart, ClockStep, Full, RemoteDown, LossRestart, Failover,
}

// A Theme is the kinds of faults that a history has.
type Theme []Fault

// weigh chooses the faults of a history, and how frequent each is. Half of the histories have
// many faults of two kinds. Otherwise two rare kinds would hardly ever come together.
func (h *history) weigh(theme Theme) {
	h.weights = make(map[Fault]float64)
	harmless := len(faults) - 2
	switch {
	case theme != nil:
		for _, f := range theme {
			h.weights[f]++
		}
	case h.chance(0.5):
		for range 2 {
			h.weights[faults[h.rng.IntN(harmless)]] = 1
		}
		if h.chance(0.4) {
			h.weights[faults[harmless+h.rng.IntN(2)]] = 1
		}
	default:
		for i, f := range faults {
			if p := h.rng.Float64(); i < harmless && p < 0.4 || p < 0.1 {
				h.weights[f] = 0.3
			}
		}
	}
	h.rates = rates{
		slow: 0.1 * h.weights[Slow], late: 0.1 * h.weights[Late],
		lostBefore: 0.15 * h.weights[LostBefore], lostAfter: 0.15 * h.weights[LostAfter],
	}
}

// planFaults schedules the faults that happen at a moment. Those of a single call come from
// rates.
func (h *history) planFaults() {
	makers := h.makers()
	for _, f := range faults {
		do := makers[f]
		if do == nil || h.weights[f] == 0 {
			continue
		}
		most := 6
		switch f {
		case LossRestart, Failover:
			most = 2
		case Stall, Restart, Full, ClockStep:
			most = 3
		}
		n := 1 + h.rng.IntN(max(1, int(float64(most)*h.weights[f])))
		for range n {
			h.after(h.between(0, h.length), do)
		}
	}
}

// makers returns the function for each fault that happens at a moment.
func (h *history) makers() map[Fault]func() {
	return map[Fault]func(){
		Stop:      func() { h.stop(h.someServer()) },
		Kill:      func() { h.kill(h.someServer()) },
		Drain:     func() { h.drain(h.someServer()) },
		Cut:       func() { h.cut(h.someServer()) },
		Stall:     h.stall,
		Restart:   func() { h.restart(h.redis, h.short()) },
		ClockStep: h.stepClock,
		Full:      h.fill,
		RemoteDown: func() {
			if h.remote != nil {
				h.restart(h.remote, h.long())
			}
		},
		LossRestart: func() { h.lose(h.long(), 0) },
		Failover:    func() { h.lose(h.long(), h.between(-time.Second, time.Second)) },
	}
}

// short returns how long a short fault lasts, long how long another one lasts.
func (h *history) short() time.Duration { return h.between(0, pick(h, h.lease/4, h.lease)) }
func (h *history) long() time.Duration  { return h.between(0, pick(h, h.lease, 4*h.lease)) }

// someServer returns a random server, nil if there is none or all has healed.
func (h *history) someServer() *server {
	if h.healed || len(h.alive) == 0 {
		return nil
	}
	return h.alive[h.rng.IntN(len(h.alive))]
}

// stop stops a server for a while, as SIGSTOP or a busy machine does.
func (h *history) stop(s *server) {
	if s == nil || s.stopped {
		return
	}
	h.tell(s.name, "is stopped")
	s.stopped = true
	h.after(h.long(), func() { h.resume(s) })
}

func (h *history) resume(s *server) {
	if s.dead || !s.stopped {
		return
	}
	h.tell(s.name, "is resumed")
	s.trouble(h.now)
	s.resume(func(waiting []func()) {
		h.rng.Shuffle(len(waiting), func(i, j int) { waiting[i], waiting[j] = waiting[j], waiting[i] })
	})
}

// kill ends a server at once. Often another one starts.
func (h *history) kill(s *server) {
	if s == nil || s.dead {
		return
	}
	h.tell(s.name, "ends")
	s.trouble(h.now)
	s.died = h.now
	s.process.kill()
	for i, other := range h.alive {
		if other == s {
			h.alive = append(h.alive[:i], h.alive[i+1:]...)
			break
		}
	}
	if c := s.mover; c != nil && h.chance(0.5) { // else the node does not learn of the end
		h.after(h.travelTime(), func() { c.unblock() })
	}
	if !h.ending && h.chance(0.8) {
		h.after(h.long(), func() {
			if !h.ending {
				h.startServer()
			}
		})
	}
}

func (h *history) drain(s *server) {
	if s == nil || s.draining {
		return
	}
	s.spawn(s.drain)
}

// cut cuts a server off from the nodes for a while, in some cases only one of its paths.
func (h *history) cut(s *server) {
	if s == nil {
		return
	}
	s.cutPath = pick(h, anyPath, anyPath, hold.Fetching, hold.Beating)
	s.cutUntil = h.now + h.long()
	if s.cutPath == anyPath || s.cutPath == hold.Beating {
		s.trouble(s.cutUntil)
	} else {
		s.troubled = max(s.troubled, s.cutUntil)
	}
	h.tell(s.name, "is cut off until", s.cutUntil, "path", int(s.cutPath))
}

func (h *history) stall() {
	d := h.long()
	h.tell("redis", "stalls for", d)
	h.redis.stall(d)
	h.outage(h.now + d)
}

func (h *history) restart(r *node, d time.Duration) {
	h.tell("redis", "restarts, down for", d)
	r.restart(d)
	if r == h.redis {
		h.outage(h.now + d)
	}
}

func (h *history) stepClock() {
	d := h.between(-time.Hour, time.Hour)
	h.tell("redis", "steps its clock by", d)
	h.redis.offset += d
}

// fill makes the queue's node refuse pushes and moves for a while. The scripts run all the same.
func (h *history) fill() {
	h.tell("redis", "is full")
	h.redis.full = true
	d := h.long()
	h.outage(h.now + d)
	h.after(d, func() { h.redis.full = false })
}

// lose lets age pass, and then undoes the writes since, as by a restart or by a replica that
// becomes master. offset is how far the replica's clock differs.
func (h *history) lose(age, offset time.Duration) {
	h.tell("redis", "will lose what it writes from here on, for", age)
	snapshot := h.redis.store.copy()
	h.after(age, func() {
		if h.healed {
			return
		}
		h.restart(h.redis, h.short())
		h.tell("redis", "has lost the writes of", age)
		h.redis.entries = snapshot
		h.keep(h.redis, Step{})
		h.redis.offset += offset
		h.lossy = true
		h.findPlaces()
	})
}

// heal ends all faults.
func (h *history) heal() {
	h.tell("", "all heals")
	h.healed, h.healedAt = true, h.now
	h.redis.free, h.redis.full, h.redis.down = h.now, false, false
	if h.remote != nil {
		h.remote.down = false
	}
	for _, s := range h.alive {
		s.cutUntil = 0
		h.resume(s)
	}
	h.startServer()
}

// fateOf chooses what happens to a call. It notes until when that may hold up the server.
func (h *history) fateOf(c *call) fate {
	f := fate{there: h.travelTime(), back: h.travelTime()}
	if h.healed {
		return f
	}
	f.loud, f.closes = h.chance(0.5), h.chance(0.5)
	r := h.rates
	x := h.rng.Float64()
	until := h.now
	switch {
	case x < r.slow:
		slow := h.between(0, h.lease/2)
		if h.chance(0.5) {
			f.there += slow
		} else {
			f.back += slow
		}
		until += slow
	case x < r.slow+r.late:
		f.there += h.between(0, latest*h.lease)
		until += h.readTimeout
	case x < r.slow+r.late+r.lostBefore:
		f.lost = lostBefore
		until += h.readTimeout
	case x < r.slow+r.late+r.lostBefore+r.lostAfter:
		f.lost = lostAfter
		until += h.readTimeout
	default:
		return f
	}
	if s := h.serverOf(c.from); s != nil {
		s.troubled = max(s.troubled, until+c.move)
		if c.path == hold.Beating {
			s.beatTroubled = max(s.beatTroubled, until)
		}
	}
	return f
}

// serverOf returns the server that a process is, nil if it is none that is alive.
func (h *history) serverOf(p *process) *server {
	for _, s := range h.alive {
		if s.process == p {
			return s
		}
	}
	return nil
}

// trouble notes that a fault may hold up a server and its beats until a moment.
func (s *server) trouble(until time.Duration) {
	s.troubled = max(s.troubled, until)
	s.beatTroubled = max(s.beatTroubled, until)
}
