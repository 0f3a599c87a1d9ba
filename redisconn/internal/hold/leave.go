package hold

import "errors"

// Release gives back requests, oldest first, that were fetched and not started, and those
// that an earlier Release could not give back. If it fails, the worker keeps them, and the next
// Release or Leave tries again: Redis does not know which requests were not started.
func (w *Worker) Release(requests ...*Request) error {
	w.mu.Lock()
	requests = append(w.unreleased, requests...)
	w.unreleased = nil
	w.mu.Unlock()
	var gens []string
	byGen := make(map[string][]any)
	for i := len(requests) - 1; i >= 0; i-- { // the last one that goes back is taken first
		r := requests[i]
		if byGen[r.gen] == nil {
			gens = append(gens, r.gen)
		}
		byGen[r.gen] = append(byGen[r.gen], r.field, r.Starts)
	}
	var failed error
	for _, gen := range gens {
		if _, err := w.giveBack(gen, byGen[gen]); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if failed != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.unreleased = append(requests, w.unreleased...)
		return failed
	}
	w.forget(requests...)
	return nil
}

// giveBack gives back requests of a generation, in bites of MaxBytes. args has two values for
// each request: its field, and how often it was started. giveBack returns how many of them were
// held.
func (w *Worker) giveBack(gen string, args []any) (released int, err error) {
	for len(args) > 0 {
		reply, err := w.world.Do(Mending, w.releaseCommand(gen, w.opts.MaxBytes, args))
		if err != nil {
			return released, err
		}
		result := reply.([]any)
		args = args[2*number(result[0]):]
		released += int(number(result[1]))
	}
	return released, nil
}

func (w *Worker) releaseCommand(gen string, limit int, args []any) Command {
	keys := w.opts.Keys
	return Command{
		Script: release,
		Keys:   []string{keys.held(gen), keys.Queue, keys.suspects()},
		Args:   append([]any{limit}, args...),
	}
}

// Stop makes Fetch return nothing and Begin report false. It ends the calls of both that wait.
func (w *Worker) Stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.world.Unblock()
	w.heard.Set()
}

// Leave ends the generation, and the beats. It is called when no request runs any more. Requests
// that were not begun go back. Others take over those that were begun and are not settled; Leave
// returns how many these are. If it fails, it may be called again.
func (w *Worker) Leave() (left int, err error) {
	w.Stop()
	w.mu.Lock()
	w.leaving = true
	gen := w.gen
	w.mu.Unlock()
	w.beating.Set()
	w.mending.Set()
	if err := w.Release(); err != nil { // first: Redis does not know which were not started
		return 0, err
	}
	if gen == "" {
		return 0, nil
	}
	return w.leave(gen)
}

// leave ends a generation, in bites of MaxBytes. It returns how many requests the generation
// still holds.
func (w *Worker) leave(gen string) (left int, err error) {
	args := append([]any{gen, w.opts.MaxBytes}, w.unsettled(gen)...)
	for more := true; more; {
		reply, err := w.world.Do(Mending, w.leaveCommand(gen, args))
		if err != nil {
			return 0, err
		}
		result := reply.([]any)
		more, left = number(result[0]) == 1, int(number(result[1]))
	}
	return left, nil
}

// unsettled returns the fields of the requests that were begun and are not settled.
func (w *Worker) unsettled(gen string) (fields []any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.gen != gen {
		return nil
	}
	for field, begun := range w.known {
		if begun {
			fields = append(fields, field)
		}
	}
	return fields
}

func (w *Worker) leaveCommand(gen string, args []any) Command {
	keys := w.opts.Keys
	return Command{
		Script: leave,
		Keys:   []string{keys.workers(), keys.held(gen), keys.Queue, keys.ready(), keys.suspects()},
		Args:   args,
	}
}
