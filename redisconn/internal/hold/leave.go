package hold

import "errors"

// Release gives back requests, the oldest first, that were fetched and not started.
func (w *Worker) Release(requests []Request) error {
	var gens []string
	byGen := make(map[string][]any)
	for i := len(requests) - 1; i >= 0; i-- { // the oldest is to be taken next
		r := requests[i]
		if byGen[r.gen] == nil {
			gens = append(gens, r.gen)
		}
		byGen[r.gen] = append(byGen[r.gen], r.field, r.Starts)
	}
	var failed error
	for _, gen := range gens {
		if _, err := w.world.Do(Mending, w.release(gen, byGen[gen])); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	if failed == nil {
		w.forget(requests...)
	}
	return failed
}

func (w *Worker) release(gen string, args []any) Command {
	keys := w.opts.Keys
	return Command{Script: release, Keys: []string{keys.held(gen), keys.Queue, keys.suspects()}, Args: args}
}

// Stop has nothing more fetched or started.
func (w *Worker) Stop() {
	w.mu.Lock()
	w.stopped = true
	w.mu.Unlock()
	w.world.Unblock()
	w.heard.Set()
}

// Leave ends the generation, when nothing runs any more: what it still holds goes back,
// but for the requests whose answers could not be sent, which others take over. It
// returns how many these are.
func (w *Worker) Leave(unsent []Request) (left int, err error) {
	w.Stop()
	w.mu.Lock()
	w.left = true
	gen := w.gen
	w.mu.Unlock()
	w.beating.Set()
	w.mending.Set()
	if gen == "" {
		return 0, nil
	}
	return w.leave(gen, unsent)
}

// leave ends a generation. It returns how many requests it still holds.
func (w *Worker) leave(gen string, unsent []Request) (left int, err error) {
	keys := w.opts.Keys
	args := []any{gen}
	for _, r := range unsent {
		if r.gen == gen {
			args = append(args, r.field)
		}
	}
	reply, err := w.world.Do(Mending, Command{
		Script: leave,
		Keys:   []string{keys.workers(), keys.held(gen), keys.Queue, keys.ready(), keys.suspects()},
		Args:   args,
	})
	return int(number(reply)), err
}
