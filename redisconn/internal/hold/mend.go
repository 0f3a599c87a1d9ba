package hold

import "time"

// biteRequests is how many requests of a silent worker are taken over by one script, at most.
const biteRequests = 256

// mend takes over what silent workers had, and gives back orphans. It is woken by each beat, and
// by Leave, which ends it. From Stop on it takes nothing over.
func (w *Worker) mend() {
	for {
		w.world.Wait(w.mending, time.Hour)
		w.mu.Lock()
		silent, orphans, gen, leaving := w.silent, w.orphans, w.gen, w.leaving
		w.silent, w.orphans = nil, nil
		w.mu.Unlock()
		if leaving {
			return
		}
		if len(orphans) > 0 {
			w.giveBackOrphans(gen, orphans)
		}
		for _, r := range silent {
			for !w.isStopped() && w.reap(r) {
			}
		}
	}
}

// isStopped reports whether Stop was called. From then on the server can't answer a request that
// reap finds dead.
func (w *Worker) isStopped() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stopped
}

// giveBackOrphans makes suspects of requests whose settling a failover undid. They may have run,
// so release keeps the count of starts that Redis has noted: "?" says so.
func (w *Worker) giveBackOrphans(gen string, fields []string) {
	args := make([]any, 0, 2*len(fields))
	for _, field := range fields {
		args = append(args, field, "?")
	}
	released, err := w.giveBack(gen, args)
	if err != nil { // the next beat finds the others again
		w.opts.Events.Failed("giving requests back", err)
	}
	if released > 0 {
		w.opts.Events.Orphaned(released)
		w.hearOfSuspects()
	}
}

// hearOfSuspects notes that there are suspects. So the next Fetch takes one before a beat shows
// it.
func (w *Worker) hearOfSuspects() {
	w.mu.Lock()
	w.suspects = true
	wakes := w.trying == ""
	w.mu.Unlock()
	if wakes {
		w.world.Unblock()
	}
}

// reap takes over a bite of what a silent worker had: up to biteRequests. It reports whether more
// is left.
func (w *Worker) reap(r row) (more bool) {
	keys := w.opts.Keys
	reply, err := w.world.Do(Mending, Command{
		Script: reap,
		Keys:   []string{keys.workers(), keys.held(r.gen), keys.suspects(), keys.Dead()},
		Args: []any{
			r.gen, r.text, w.opts.MaxStarts, biteRequests, w.opts.MaxBytes, w.opts.MaxDead, "its server died each time",
		},
	})
	if err != nil { // a beat finds it again
		w.opts.Events.Failed("taking over", err)
		return false
	}
	w.opts.Events.Worked("taking over")
	result := reply.([]any)
	if n := number(result[1]); n > 0 {
		w.opts.Events.TookOver(int(n))
		w.hearOfSuspects()
	}
	if n := number(result[2]); n > 0 {
		w.opts.Events.Dropped(int(n))
	}
	for dead := result[3:]; len(dead) >= 2; dead = dead[2:] {
		body, _ := dead[1].(string)
		w.opts.Events.Died(body, int(number(dead[0])))
	}
	return number(result[0]) == 1
}
