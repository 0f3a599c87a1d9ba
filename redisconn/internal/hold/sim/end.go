package sim

import "time"

// tick checks, every half lease, how long requests have waited. Once all has healed and nothing
// is left to do, it ends the history.
func (h *history) tick() {
	if h.ending {
		return
	}
	h.checkWaits()
	if h.healed {
		if h.isDone() {
			h.end()
			return
		}
		if h.now > h.healedAt+h.patience() {
			h.fail(Stuck, "%s", h.undone())
		}
	}
	h.after(h.lease/2, h.tick)
}

// patience is how long a history may go on after all has healed.
func (h *history) patience() time.Duration {
	d := 4*h.maxLease() + 4*time.Second + 8*h.lease // the clients' longest wait
	d += time.Duration(h.retries+1) * (h.readTimeout + h.block)
	for _, r := range h.requests {
		d += r.runs
		if h.mayNotUnblock { // a server's waits end before it takes the next suspect
			d += h.block
		}
	}
	return d
}

func (h *history) isDone() bool { return h.undone() == "" }

// undone returns what is still left to do, "" if nothing is.
func (h *history) undone() string {
	for _, r := range h.requests {
		switch {
		case !r.over:
			return r.name + ": its client is not done"
		case r.place.kind != nowhere && r.place.kind != dead:
			return r.name + " is " + r.place.String()
		}
	}
	for _, s := range h.alive {
		if s.inHand > 0 || len(s.answers) > 0 {
			return s.name + " is busy"
		}
	}
	return ""
}

// end waits until late commands have arrived and generations that ended were taken over. Then all
// servers leave.
func (h *history) end() {
	h.tell("", "all is done")
	h.ending = true
	h.after(h.healedAt-h.now+latest*h.lease+3*h.maxLease(), func() {
		for _, s := range h.alive {
			h.after(h.between(0, h.lease), func() { h.drain(s) })
		}
		h.after(h.lease, h.finish)
	})
}

// finish ends the history once all servers have left.
func (h *history) finish() {
	if len(h.alive) > 0 {
		h.after(h.lease, h.finish)
		return
	}
	h.checkEnd()
	h.over = true
}
