package hold

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// Layout is the version of the keys and of what stands in them. A worker that finds
// another one does not serve.
const Layout = "1"

// Keys are the keys of a queue. The package's documentation says what they hold.
type Keys struct {
	Queue string
	Own   string // begins the names of the other keys, and puts them in the queue's slot
}

func (k Keys) ready() string          { return k.Own + "ready" }
func (k Keys) suspects() string       { return k.Own + "suspects" }
func (k Keys) workers() string        { return k.Own + "workers" }
func (k Keys) held(gen string) string { return k.Own + "held:" + gen }

// Dead returns the key of the requests that were given up.
func (k Keys) Dead() string { return k.Own + "dead" }

// Waiting returns the keys of the lists whose requests no worker has.
func (k Keys) Waiting() []string { return []string{k.Queue, k.ready(), k.suspects()} }

// Workers returns the key of the hash that has a field for each generation, and the field layout.
func (k Keys) Workers() string { return k.workers() }

// HeldBy returns the key of what the generation in a field of Workers holds. For the field
// layout there is no such key in Redis.
func (k Keys) HeldBy(field string) string { return k.held(field) }

// CountHeld returns how many requests a generation holds, by the fields of its HeldBy.
func CountHeld(fields []string) (requests int) {
	for _, field := range fields {
		if _, ok := tokenOf(field); ok {
			requests++
		}
	}
	return requests
}

// Options are the options of a Worker.
type Options struct {
	Keys      Keys
	Name      string        // no other worker has the same
	Lease     time.Duration // after so much silence others take over
	MaxStarts int           // of a request, before it is given up
	MaxDead   int           // how many requests that were given up are kept
	MaxBytes  int           // of the requests that a script handles, not counting the last one
	Block     time.Duration // how long the move of an idle worker waits
	Events    Events
}

// Events tell what a Worker finds. The Worker calls them on any of its goroutines and callers.
// They must not block, and must not call the Worker.
type Events interface {
	Failed(doing string, err error) // a command failed; doing names what it is for
	Worked(doing string)            // a join, a beat or a take-over worked
	Gone()                          // others take over what the worker had
	TookOver(requests int)          // the worker took over so many from a silent one
	Orphaned(requests int)          // the settling of so many was undone; they run again
	Died(body string, starts int)   // a request was given up
	Dropped(dead int)               // so many dead requests were dropped because of MaxDead
}

// A Request is one that is held.
type Request struct {
	Body    string
	Starts  int  // how often it was started before
	Suspect bool // a worker fell silent while it held the request

	gen, field string // where it is held
}

// A Worker holds requests for one server. If it is silent for too long, others take them
// over. One goroutine calls Fetch. Any goroutine may call the other methods. The World runs two
// more: beat, and mend.
type Worker struct {
	world World
	opts  Options

	// They wake beat, mend, and those that wait for a good beat: Fetch and Begin.
	beating, mending, heard Signal

	idle    bool // Fetch's own: nothing was ready after the last take
	omitted Rule // left out for the simulator; set before the loops run

	mu         sync.Mutex      // protects following
	gen        string          // the generation; "": there is none
	sent       time.Duration   // when the last good beat of gen was sent
	token      int64           // of the next request
	known      map[string]bool // fields that gen holds, as far as we know: true once begun
	trying     string          // the field of the one suspect among them; "": none
	unreleased []*Request      // an earlier Release failed to give them back
	observed
	stopped bool  // by Stop: nothing is fetched or started any more
	leaving bool  // by Leave: beat and mend end
	fatal   error // ends the serving
}

// observed is what beats have shown.
type observed struct {
	rows     map[string]row // of other generations
	silent   []row          // of generations to take over, for mend
	orphans  []string       // fields of gen to give back, for mend
	suspects bool           // some wait, as far as we know
}

// A row is what a generation's row says, and since when.
type row struct {
	gen, text string
	lease     time.Duration
	since     time.Duration // when it was first received
}

// New returns a Worker, and runs its beats and its mending until Leave.
func New(world World, opts Options) *Worker {
	w := &Worker{
		world: world, opts: opts,
		beating: world.NewSignal(), mending: world.NewSignal(), heard: world.NewSignal(),
		known: make(map[string]bool), observed: observed{rows: make(map[string]row)},
	}
	world.Go(w.beat)
	world.Go(w.mend)
	return w
}

// holds reports whether the worker may start what gen has. It may while nobody can have taken
// it over. holds is called with w.mu locked.
func (w *Worker) holds(gen string) bool {
	return gen != "" && gen == w.gen && (w.world.Now() < w.sent+w.opts.Lease || w.omitted == LeaseRule)
}

// knows reports whether a field is held, as far as we know. It is called with w.mu locked.
func (w *Worker) knows(field string) bool {
	_, known := w.known[field]
	return known
}

// gone forgets a generation, which Redis does not know any more, or which is being reaped. beat
// then joins again.
func (w *Worker) gone(gen string) {
	w.mu.Lock()
	known := gen != "" && w.gen == gen
	if known {
		w.gen, w.trying, w.orphans = "", "", nil
		clear(w.known)
	}
	w.mu.Unlock()
	if known {
		w.opts.Events.Gone()
		w.beating.Set()
		w.heard.Set()
	}
}

// forget notes that requests are no longer held.
func (w *Worker) forget(requests ...*Request) {
	w.mu.Lock()
	tried := false
	for _, r := range requests {
		if r.gen != w.gen {
			continue
		}
		delete(w.known, r.field)
		if w.trying == r.field {
			w.trying, tried = "", w.suspects
		}
	}
	w.mu.Unlock()
	if tried { // Fetch looks for the next suspect now, and not only after a beat
		w.world.Unblock()
	}
}

// fail notes an error that ends the serving. Fetch returns it.
func (w *Worker) fail(err error) {
	w.mu.Lock()
	w.fatal = err
	w.mu.Unlock()
	w.heard.Set()
}

// Err returns the error that ends the serving, nil if there is none.
func (w *Worker) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.fatal
}

// ErrOldRedis is wrapped by the error of a World whose Redis can't run our scripts.
var ErrOldRedis = errors.New("AtLeastOnce needs Redis 7.0 or newer")

// A layoutError says that other workers of the queue keep the keys in another layout.
type layoutError struct{ found string }

func (e layoutError) Error() string {
	return fmt.Sprintf("servers of the queue keep their requests in layout %s, this one in layout %s: end those first", e.found, Layout)
}

// A Rule is a rule that the simulator makes a Worker leave out, to show that it is needed.
type Rule string

const (
	GapRule   Rule = "gap"   // a gap between two beats is no silence of others
	LeaseRule Rule = "lease" // nothing starts unless the worker's lease holds
)

// Omit makes the worker leave a rule out. It is called before the loops run, by the simulator
// alone.
func (w *Worker) Omit(r Rule) { w.omitted = r }
