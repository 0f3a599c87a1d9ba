package sim

import (
	"iter"
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A schedule runs events in the order of their times. All that a history does happens in an
// event. So the seed alone decides what happens.
type schedule struct {
	now     time.Duration
	horizon time.Duration // later events never run
	added   uint64        // how many events were added
	heap    []event       // a binary heap, the next event first
	running *task         // nil between tasks
}

type event struct {
	at  time.Duration
	seq uint64 // of two events at one time, the one that was added first runs first
	do  func()
}

func (e event) before(other event) bool {
	return e.at < other.at || e.at == other.at && e.seq < other.seq
}

// after adds an event that runs do in d.
func (s *schedule) after(d time.Duration, do func()) {
	if s.now+d > s.horizon {
		return
	}
	s.added++
	e := event{s.now + max(d, 0), s.added, do}
	s.heap = append(s.heap, e)
	i := len(s.heap) - 1
	for i > 0 {
		parent := (i - 1) / 2
		if !e.before(s.heap[parent]) {
			break
		}
		s.heap[i] = s.heap[parent]
		i = parent
	}
	s.heap[i] = e
}

// step runs the next event, and reports whether there was one.
func (s *schedule) step() bool {
	if len(s.heap) == 0 {
		return false
	}
	first, last := s.heap[0], s.heap[len(s.heap)-1]
	s.heap[len(s.heap)-1] = event{}
	s.heap = s.heap[:len(s.heap)-1]
	if len(s.heap) > 0 {
		s.sink(last)
	}
	s.now = first.at
	first.do()
	return true
}

// sink puts an event in the place of the first one, and then where it belongs in the heap.
func (s *schedule) sink(e event) {
	i := 0
	for {
		child := 2*i + 1
		if child >= len(s.heap) {
			break
		}
		if child+1 < len(s.heap) && s.heap[child+1].before(s.heap[child]) {
			child++
		}
		if e.before(s.heap[child]) {
			break
		}
		s.heap[i] = s.heap[child]
		i = child
	}
	s.heap[i] = e
}

// A process has tasks. It is stopped, resumed, killed and cut off as a whole.
type process struct {
	s       *schedule
	name    string
	tasks   []*task
	dead    bool
	stopped bool
	waiting []func() // run when it is resumed

	cutUntil time.Duration // until then nothing passes
	cutPath  hold.Path     // on this path; anyPath: on any path
}

// anyPath stands for all paths.
const anyPath hold.Path = -1

// isCut reports whether nothing passes on a path.
func (p *process) isCut(path hold.Path) bool {
	return p.s.now < p.cutUntil && (p.cutPath == anyPath || p.cutPath == path)
}

// A task is a coroutine of a process, made by iter.Pull. It runs while next is called, until it
// parks.
type task struct {
	process *process
	next    func() (struct{}, bool)
	stop    func()
	yield   func(struct{}) bool
	parks   int // names the current park or run: a wake for another number does nothing
}

// killed is the panic that unwinds a task whose process is killed.
type killed struct{}

// spawn runs f as a task.
func (p *process) spawn(f func()) {
	t := &task{process: p}
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		defer func() {
			if r := recover(); r != nil && r != (killed{}) {
				panic(r)
			}
		}()
		t.yield = yield
		f()
	})
	p.tasks = append(p.tasks, t)
	t.wake(0, t.parks)
}

// park suspends the task until it is woken.
func (t *task) park() {
	if !t.yield(struct{}{}) {
		panic(killed{})
	}
}

// prepare returns the number of the park that follows, for wake and run.
func (t *task) prepare() int {
	t.parks++
	return t.parks
}

// wake wakes the task in d, if it is then in the park with the number n.
func (t *task) wake(d time.Duration, n int) {
	t.process.after(d, func() { t.run(n) })
}

// run runs the task until it parks again, if it is in the park with the number n.
func (t *task) run(n int) {
	if t.parks != n {
		return
	}
	t.parks++
	s := t.process.s
	s.running = t
	t.next()
	s.running = nil
}

// after adds an event that runs do in d, if the process is alive then. While the process is
// stopped, do waits.
func (p *process) after(d time.Duration, do func()) {
	p.s.after(d, func() { p.act(do) })
}

// act runs do now or, if the process is stopped, when it is resumed.
func (p *process) act(do func()) {
	switch {
	case p.dead:
	case p.stopped:
		p.waiting = append(p.waiting, do)
	default:
		do()
	}
}

// resume ends a stop. Then all that waited runs, in the order that shuffle makes.
func (p *process) resume(shuffle func([]func())) {
	if p.dead || !p.stopped {
		return
	}
	p.stopped = false
	waiting := p.waiting
	p.waiting = nil
	shuffle(waiting)
	for _, do := range waiting {
		p.after(0, do)
	}
}

// kill ends the process and its tasks. None of these may be running.
func (p *process) kill() {
	p.dead = true
	for _, t := range p.tasks {
		t.stop()
	}
	p.tasks, p.waiting = nil, nil
}

// sleep makes the running task wait for d.
func (p *process) sleep(d time.Duration) {
	t := p.s.running
	t.wake(d, t.prepare())
	t.park()
}

// A signal is a hold.Signal. Like a channel of capacity one, it wakes one of the tasks that wait
// for it, or the next one that will.
type signal struct {
	set     bool
	waiting []wait // some may have ended by their time
}

// A wait is a task in its park with the number n.
type wait struct {
	task *task
	n    int
}

// Set wakes the task that has waited longest or, if none waits, the next one that will.
func (g *signal) Set() {
	for len(g.waiting) > 0 {
		w := g.waiting[0]
		g.waiting = g.waiting[1:]
		if w.task.parks == w.n {
			w.task.wake(0, w.n)
			return
		}
	}
	g.set = true
}

// wait makes the running task wait for the signal, for d at most.
func (p *process) wait(g *signal, d time.Duration) {
	if g.set {
		g.set = false
		return
	}
	t := p.s.running
	n := t.prepare()
	g.waiting = append(g.waiting, wait{t, n})
	t.wake(d, n)
	t.park()
}
