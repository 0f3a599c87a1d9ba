package sim

import (
	"iter"
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A schedule runs events in the order of their times. All that a history does happens in
// one, and nothing in it depends on anything but the seed.
type schedule struct {
	now     time.Duration
	horizon time.Duration // later events never run
	added   uint64
	heap    []event
	running *task
}

type event struct {
	at  time.Duration
	seq uint64 // of two at one time the first added runs first
	do  func()
}

func (e event) before(other event) bool {
	return e.at < other.at || e.at == other.at && e.seq < other.seq
}

// after runs do in d.
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

// sink puts an event where the first one was.
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

// A process is what is stopped, resumed, killed and cut off as a whole: it has tasks.
type process struct {
	s       *schedule
	name    string
	tasks   []*task
	dead    bool
	stopped bool
	waiting []func() // what is to happen once it is resumed

	cutUntil time.Duration // nothing passes before
	cutPath  hold.Path     // on this path; anyPath: on any
}

// anyPath stands for all paths.
const anyPath hold.Path = -1

// isCut reports whether nothing passes on a path.
func (p *process) isCut(path hold.Path) bool {
	return p.s.now < p.cutUntil && (p.cutPath == anyPath || p.cutPath == path)
}

// A task is a coroutine of a process.
type task struct {
	process *process
	next    func() (struct{}, bool)
	stop    func()
	yield   func(struct{}) bool
	parks   int // how often it was parked: a wake of an earlier time does nothing
}

// killed unwinds a task whose process is killed.
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

// park returns when the task is woken.
func (t *task) park() {
	if !t.yield(struct{}{}) {
		panic(killed{})
	}
}

// prepare returns the number of the next park, for wake.
func (t *task) prepare() int {
	t.parks++
	return t.parks
}

// wake wakes the task in d, from its nth park.
func (t *task) wake(d time.Duration, n int) {
	t.process.after(d, func() { t.run(n) })
}

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

// after runs do in d, if the process is alive then: while it is stopped, do waits.
func (p *process) after(d time.Duration, do func()) {
	p.s.after(d, func() { p.act(do) })
}

// act runs do as soon as the process can.
func (p *process) act(do func()) {
	switch {
	case p.dead:
	case p.stopped:
		p.waiting = append(p.waiting, do)
	default:
		do()
	}
}

// resume ends a stop. Then all that waited happens in the order that shuffle makes.
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

// kill ends the process. No task of it may be running.
func (p *process) kill() {
	p.dead = true
	for _, t := range p.tasks {
		t.stop()
	}
	p.tasks, p.waiting = nil, nil
}

// sleep has the running task wait.
func (p *process) sleep(d time.Duration) {
	t := p.s.running
	t.wake(d, t.prepare())
	t.park()
}

// A signal is a hold.Signal: as a channel of capacity one it wakes one of those that
// wait for it, or the next that will.
type signal struct {
	set     bool
	waiting []wait
}

type wait struct {
	task *task
	n    int
}

// Set wakes one task.
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

// wait has the running task wait for the signal, for d at most.
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
