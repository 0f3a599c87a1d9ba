package hold

import (
	"strconv"
	"time"
)

// maxTaken is how many requests one take returns at most: the stack of a script is limited.
const maxTaken = 1000

// Fetch takes up to n requests. If none waits, it waits for one, for Options.Block at most,
// and may return none. While the worker's lease does not hold, it waits for a good beat and
// returns none. It returns none after Stop.
func (w *Worker) Fetch(n int) ([]*Request, error) {
	w.mu.Lock()
	gen, token, stopped, err := w.gen, w.token, w.stopped, w.fatal
	holds, wants := w.holds(gen), w.trying == "" && w.suspects
	w.mu.Unlock()
	switch {
	case err != nil || stopped:
		return nil, err
	case !holds:
		w.world.Wait(w.heard, w.opts.Lease/4)
		return nil, nil
	}
	keys := w.opts.Keys
	c := Command{
		Script: take,
		Keys:   []string{keys.workers(), keys.held(gen), keys.Queue, keys.ready(), keys.suspects()},
		Args:   []any{gen, token, min(n, maxTaken), w.opts.MaxBytes, flag(wants)},
	}
	if w.idle && !wants {
		c.Move, c.Queue, c.Into = w.opts.Block, keys.Queue, keys.ready()
	}
	w.idle = false // if the answer is lost, the next take does not wait: something may be ready
	reply, err := w.world.Do(Fetching, c)
	if err != nil {
		return nil, err
	}
	result := reply.([]any)
	if result[0] == "gone" {
		w.gone(gen)
		return nil, nil
	}
	w.idle = number(result[4]) == 0
	return w.taken(gen, token, result, wants), nil
}

func flag(set bool) int {
	if set {
		return 1
	}
	return 0
}

// taken notes what a take returned, and returns its requests. token is the one that the take
// asked for. wants says whether it asked for a suspect. If an earlier answer was lost, a request
// may be known, or no longer held: taken leaves it out.
func (w *Worker) taken(gen string, token int64, result []any, wants bool) []*Request {
	next, _ := strconv.ParseInt(result[1].(string), 10, 64)
	moment, _ := result[2].(string)
	starts, suspect := result[3].(string)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gen != gen { // gone meanwhile: others take the requests over
		return nil
	}
	w.token = max(w.token, next)
	bodies := result[5:]
	requests := make([]*Request, 0, len(bodies))
	all := make([]Request, len(bodies))
	var name []byte
	for i, body := range bodies {
		r := &all[i]
		name = append(append(strconv.AppendInt(name[:0], token+int64(i), 10), '.'), moment...)
		r.gen, r.field = gen, string(name)
		if r.Suspect = suspect && i == 0; r.Suspect {
			r.Starts, _ = strconv.Atoi(starts)
			r.field = "s" + r.field
		}
		var held bool
		if r.Body, held = body.(string); !held || w.knows(r.field) {
			continue
		}
		w.known[r.field] = false
		if r.Suspect {
			w.trying = r.field
		}
		requests = append(requests, r)
	}
	if wants && w.trying == "" { // there was no suspect: do not ask again before a beat shows one
		w.suspects = false
	}
	return requests
}

// beginPause is the pause between two tries to begin a suspect.
const beginPause = 50 * time.Millisecond

// Begin reports whether a request may be started. It first notes the start of a suspect in
// Redis. While it is not known whether others have taken the request over, Begin waits. After
// Stop it reports false.
func (w *Worker) Begin(r *Request) bool {
	begun := !r.Suspect
	for {
		w.mu.Lock()
		holds, over := w.holds(r.gen), w.stopped || w.gen != r.gen
		if begun && holds && !over {
			w.known[r.field] = true
		}
		w.mu.Unlock()
		switch {
		case over:
			return false
		case !holds:
			w.world.Wait(w.heard, w.opts.Lease/4)
		case begun:
			return true
		default:
			var held bool
			if held, begun = w.begin(r); !held {
				return false
			}
		}
	}
}

// begin notes the start of a suspect in Redis. It reports whether the suspect is held, as far as
// is known, and whether its start is noted. After an error, Begin tries again.
func (w *Worker) begin(r *Request) (held, begun bool) {
	keys := w.opts.Keys
	reply, err := w.world.Do(Mending, Command{
		Script: begin,
		Keys:   []string{keys.workers(), keys.held(r.gen)},
		Args:   []any{r.gen, r.field, r.Starts + 1},
	})
	switch {
	case err != nil:
		w.opts.Events.Failed("beginning a request", err)
		w.world.Wait(w.heard, beginPause)
		return true, false
	case number(reply) == 0:
		w.forget(r)
		return false, false
	}
	return true, true
}
