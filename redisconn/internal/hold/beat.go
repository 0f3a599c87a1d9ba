package hold

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxPace is the longest pause between two beats. It also bounds how long a request waits that
// the move of a worker made ready just before the worker died: the next beat of another worker
// finds it.
const maxPace = time.Second

// BeatTime returns how long a beat may take.
func BeatTime(lease time.Duration) time.Duration { return lease / 4 }

// beat beats until the worker leaves:
//
//	join           if there is no generation: begin one
//	hear           else: change its row, and look at what Redis has
//	  observe        find the generations that are silent
//	  findOrphans    find the requests whose settling was undone
//	  hasUnheard     end a move that waits if the answer to a take was lost
func (w *Worker) beat() {
	for {
		w.mu.Lock()
		gen, leaving := w.gen, w.leaving
		w.mu.Unlock()
		switch {
		case leaving:
			return
		case gen == "":
			w.join()
		default:
			w.hear(gen)
		}
		w.world.Wait(w.beating, w.pace())
	}
}

// pace returns the pause between two beats.
func (w *Worker) pace() time.Duration { return min(w.opts.Lease/4, maxPace) }

// join begins a generation. The lease counts from the moment at which the command was sent.
func (w *Worker) join() {
	sent := w.world.Now()
	reply, err := w.world.Do(Beating, Command{
		Script: join,
		Keys:   []string{w.opts.Keys.workers()},
		Args:   []any{Layout, w.opts.Name, w.opts.Lease.Milliseconds()},
	})
	switch {
	case errors.Is(err, ErrOldRedis):
		w.fail(err)
		return
	case err != nil:
		w.opts.Events.Failed("joining", err)
		return
	}
	w.opts.Events.Worked("joining")
	result := texts(reply)
	if result[0] == "layout" {
		w.fail(layoutError{result[1]})
		return
	}
	w.mu.Lock()
	leaving := w.leaving
	if !leaving {
		w.gen, w.sent, w.token = result[1], sent, 1
		clear(w.rows) // the time before the join is no silence of others
	}
	w.mu.Unlock()
	if leaving { // Leave was called meanwhile, and did not know of this generation
		_, _ = w.leave(result[1]) // if it fails, another worker reaps it
		return
	}
	w.heard.Set()
}

// A view is what a worker knew before it sent a beat.
type view struct {
	sent  time.Duration
	token int64
	known map[string]bool
}

// hear changes the generation's row, which renews the lease from the moment at which the command
// was sent, and looks at what Redis has. It wakes those that wait for that.
func (w *Worker) hear(gen string) {
	keys := w.opts.Keys
	w.mu.Lock()
	before := view{token: w.token, known: maps.Clone(w.known)}
	w.mu.Unlock()
	before.sent = w.world.Now()
	reply, err := w.world.Do(Beating, Command{
		Script: beat,
		Keys:   []string{keys.workers(), keys.held(gen), keys.Queue, keys.ready(), keys.suspects()},
		Args:   []any{gen},
	})
	if err != nil {
		w.opts.Events.Failed("renewing the lease", err)
		return
	}
	result := reply.([]any)
	if result[0] == "gone" {
		w.gone(gen)
		return
	}
	w.opts.Events.Worked("renewing the lease")
	rows, waiting, suspects, fields := texts(result[1]), number(result[2]), number(result[3]), texts(result[4])
	w.mu.Lock()
	if w.gen != gen {
		w.mu.Unlock()
		return
	}
	gap := before.sent - w.sent
	w.sent = before.sent
	w.observe(gen, rows, before.sent, gap)
	w.findOrphans(fields, before)
	w.suspects = suspects > 0
	wakes := waiting > 0 || w.suspects && w.trying == "" || w.hasUnheard(fields)
	w.mu.Unlock()
	w.heard.Set()
	w.mending.Set()
	if wakes {
		w.world.Unblock()
	}
}

// observe notes the rows of other generations, and finds the silent ones. A generation is
// silent if a beat that was sent a lease after its row was first received still shows the
// same row. sent is when this beat was sent, and gap the time since the one before. During a
// gap the others may not have reached Redis, either, so it is no silence of theirs: a short gap
// is left out, and after a long one the lease counts anew. observe is called with w.mu locked.
func (w *Worker) observe(own string, rows []string, sent, gap time.Duration) {
	received := w.world.Now()
	w.silent = nil
	seen := make(map[string]row, len(rows)/2)
	for i := 0; i+1 < len(rows); i += 2 {
		gen, text := rows[i], rows[i+1]
		if gen == own || gen == "layout" {
			continue
		}
		r, known := w.rows[gen]
		switch {
		case !known || r.text != text:
			r = row{gen, text, max(leaseOf(text), w.opts.Lease), received}
		case w.omitted == GapRule:
		case gap > r.lease/2:
			r.since = received
		case gap > 2*w.pace():
			r.since += gap
		}
		seen[gen] = r
		if text == "gone" || sent-r.since >= r.lease {
			w.silent = append(w.silent, r)
		}
	}
	w.rows = seen
}

// leaseOf returns the lease in a row, 0 if the row is "gone".
func leaseOf(text string) time.Duration {
	_, lease, _ := strings.Cut(text, " ")
	milliseconds, _ := strconv.ParseInt(lease, 10, 64)
	return time.Duration(milliseconds) * time.Millisecond
}

// findOrphans finds what Redis holds though it was settled before the beat was sent: a replica
// became master that had not received the settling. A request that was unknown before the beat,
// and has become known since, is no orphan. findOrphans is called with w.mu locked.
func (w *Worker) findOrphans(fields []string, before view) {
	w.orphans = nil
	for _, field := range fields {
		token, ok := tokenOf(field)
		_, known := before.known[field]
		if ok && token < before.token && !known && !w.knows(field) {
			w.orphans = append(w.orphans, field)
		}
	}
}

// hasUnheard reports whether Redis holds requests of a take whose answer has not come yet, or was
// lost. If it was lost, Fetch has to send the same take again, and must not first wait in a move.
// hasUnheard is called with w.mu locked.
func (w *Worker) hasUnheard(fields []string) bool {
	return slices.ContainsFunc(fields, func(field string) bool {
		token, ok := tokenOf(field)
		return ok && token >= w.token
	})
}

// tokenOf returns the token in the field of a request. It returns false for other fields.
func tokenOf(field string) (int64, bool) {
	text, _, _ := strings.Cut(strings.TrimPrefix(field, "s"), ".")
	token, err := strconv.ParseInt(text, 10, 64)
	return token, err == nil
}

// texts returns the strings in a reply.
func texts(reply any) []string {
	values, _ := reply.([]any)
	all := make([]string, len(values))
	for i, v := range values {
		all[i], _ = v.(string)
	}
	return all
}

// number returns the number in a reply, 0 if there is none.
func number(reply any) int64 {
	n, _ := reply.(int64)
	return n
}
