package sim

import (
	"fmt"
	"slices"
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A server is a process that serves the queue as redisconn.ServerConn does: it fetches as many
// requests as it has places for, begins them one after the other, runs them at the same time,
// and settles them. Its own tasks are fetch, read, reply and drain.
type server struct {
	*process
	h      *history
	lease  time.Duration
	worker *hold.Worker
	places int
	most   int   // how many requests run at the same time, at most
	mover  *call // the last call with a move

	work
	tasks
	health

	locked   bool   // a command is under way, if a flaw makes all share one path
	unlocked signal // wakes the next command
}

// A work is what a server has in hand.
type work struct {
	unread   []*hold.Request  // not begun, the oldest first; no suspects
	suspects []*hold.Request  // suspects not begun, the oldest first
	trying   bool             // a suspect runs
	inHand   int              // requests that have a place
	has      map[*request]int // how many places each has: two, if two generations held it
	running  int              // requests that run
	answers  []answer         // to be sent
}

// tasks says which tasks of a server still run, and wakes them.
type tasks struct {
	draining                       bool // no request is fetched or begun any more
	reading, fetching, replying    bool
	freed, handed, answered, ended signal // wake fetch, read, reply, drain
}

// A health is what has happened to a server.
type health struct {
	died         time.Duration // when
	troubled     time.Duration // until when a fault lasts that may hold it up
	beatTroubled time.Duration // until when a fault lasts that may hold up its beats
	busy         time.Duration // when it last had something in hand
}

// An answer is the result of a request.
type answer struct {
	request *hold.Request // nil: the request is dead, and not held
	of      *request
	text    string
	client  *client // nil: nobody waits for it
}

// gen returns the generation that holds the request, "" if none does.
func (a answer) gen() string {
	if a.request == nil {
		return ""
	}
	return a.request.Gen()
}

func (h *history) startServer() *server {
	h.servers++
	s := &server{
		process: h.newProcess(fmt.Sprintf("s%d", h.servers)),
		h:       h, lease: h.leaseOf(h.servers), places: 1 + h.rng.IntN(4),
	}
	s.fetching, s.reading, s.replying = true, true, true
	s.has, s.busy = make(map[*request]int), h.now
	s.most = 1 + h.rng.IntN(s.places)
	h.alive = append(h.alive, s)
	maxBytes := 1 << 20
	if h.chance(0.2) {
		maxBytes = 20
	}
	s.worker = hold.New(world{s}, hold.Options{
		Keys: h.keys, Name: s.name, Lease: s.lease,
		MaxStarts: h.maxStarts, MaxDead: h.maxDead, MaxBytes: maxBytes, Block: h.block,
		Events: events{s},
	})
	h.flaw.omit(s.worker)
	s.spawn(s.fetch)
	s.spawn(s.read)
	s.spawn(s.reply)
	h.tell(s.name, "starts, lease", s.lease)
	return s
}

// fetch takes requests while there are places for them.
func (s *server) fetch() {
	for !s.draining {
		free := s.places - s.inHand
		if free <= 0 {
			s.wait(&s.freed, time.Hour)
			continue
		}
		requests, err := s.worker.Fetch(free)
		if err != nil {
			s.sleep(s.h.pause())
			continue
		}
		s.inHand += len(requests)
		for _, r := range requests {
			s.has[s.h.requestOf(r.Body)]++
			if r.Suspect {
				s.suspects = append(s.suspects, r)
			} else {
				s.unread = append(s.unread, r)
			}
		}
		s.handed.Set()
	}
	s.fetching = false
	s.ended.Set()
}

// read begins the requests that were fetched, and starts them.
func (s *server) read() {
	for !s.draining {
		r, ok := s.next()
		if !ok {
			s.wait(&s.handed, time.Hour)
			continue
		}
		switch {
		case s.worker.Begin(r):
			s.start(r)
		case s.draining:
			s.unread = slices.Insert(s.unread, 0, r)
		default:
			s.drop(r)
		}
	}
	s.reading = false
	s.ended.Set()
}

// next returns the next request to begin, and reports whether there is one. One suspect runs at a
// time.
func (s *server) next() (r *hold.Request, ok bool) {
	switch {
	case s.running >= s.most:
		return nil, false
	case len(s.suspects) > 0 && !s.trying:
		r, s.suspects = s.suspects[0], s.suspects[1:]
		s.trying = true
	case len(s.unread) > 0:
		r, s.unread = s.unread[0], s.unread[1:]
	default:
		return nil, false
	}
	return r, true
}

// start runs a request. A poisonous one kills the server, unless all has healed.
func (s *server) start(r *hold.Request) {
	of := s.h.started(s, r)
	s.running++
	if of.poisonous && !s.h.healed {
		s.h.tell(s.name, "is killed by", of.name)
		s.s.after(0, func() { s.h.kill(s) })
		s.sleep(time.Hour)
	}
	s.after(of.runs, func() { s.finish(of, r) })
}

// finish notes a request's answer.
func (s *server) finish(of *request, r *hold.Request) {
	s.running--
	a := answer{request: r, of: of, text: of.name}
	if !of.silent {
		a.client = of.client
	}
	s.h.tell(s.name, "has run", of.name)
	s.answers = append(s.answers, a)
	s.answered.Set()
	s.handed.Set()
}

// drop frees the place of a request.
func (s *server) drop(r *hold.Request) {
	if r.Suspect {
		s.trying = false
		s.handed.Set()
	}
	of := s.h.requestOf(r.Body)
	of.waits = max(of.waits, s.h.now) // if it is still held, it waits from now on
	s.has[of]--
	s.inHand--
	s.busy = s.h.now
	s.freed.Set()
}

// drain ends the server as ServerConn.Close does.
func (s *server) drain() {
	s.h.tell(s.name, "drains")
	s.troubled = s.h.now
	s.draining = true
	s.worker.Stop()
	for _, signal := range []*signal{&s.freed, &s.handed, &s.answered} {
		signal.Set()
	}
	for s.fetching || s.reading {
		s.wait(&s.ended, time.Hour)
	}
	back := append(slices.Clone(s.suspects), s.unread...)
	if len(back) > 0 {
		_ = s.worker.Release(back...) // if it fails, Leave tries again
	}
	for s.running > 0 || s.replying {
		s.answered.Set()
		s.wait(&s.ended, s.lease/4)
	}
	s.h.tell(s.name, "leaves")
	_, _ = s.worker.Leave()
	s.s.after(0, func() { s.h.kill(s) })
}

// events are a server's hold.Events.
type events struct{ *server }

func (e events) Failed(string, error) {}
func (e events) Worked(string)        {}
func (e events) Gone()                { e.h.tell(e.name, "hears that it is gone") }
func (e events) TookOver(n int)       { e.h.tell(e.name, "took over", n) }
func (e events) Orphaned(n int)       { e.h.tell(e.name, "gave back orphans", n) }
func (e events) Dropped(int)          {}

// Died answers a request that is dead.
func (e events) Died(body string, starts int) {
	r := e.h.requestOf(body)
	e.h.tell(e.name, "finds dead", r.name, starts)
	e.answers = append(e.answers, answer{of: r, text: "dead " + r.name, client: r.client})
	e.answered.Set()
}
