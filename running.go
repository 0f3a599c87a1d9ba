package jsonrpc2

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Running says how often a method runs at the moment.
type Running struct {
	Method string    `json:"method"` // as net/rpc knows it
	Calls  int       `json:"calls"`  // with notifications
	Since  time.Time `json:"since"`  // when the oldest began, up to a second late
}

// Running returns what runs at the moment on the servers that have s in their options: for
// a page that shows what holds a program up. It has one entry for each method, that of the
// oldest call first, and is nil if nothing runs.
func (s *ServerStats) Running() []Running {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Running
	for server := range s.servers {
		all = server.appendRunning(all)
	}
	sortRunning(all)
	return all
}

// sortRunning puts the oldest first.
func sortRunning(all []Running) {
	slices.SortFunc(all, func(a, b Running) int {
		return cmp.Or(a.Since.Compare(b.Since), strings.Compare(a.Method, b.Method))
	})
}

// enter makes Running show what a server runs, until leave.
func (s *ServerStats) enter(server *serving) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers == nil {
		s.servers = make(map[*serving]struct{})
	}
	s.servers[server] = struct{}{}
}

func (s *ServerStats) leave(server *serving) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.servers, server)
}

// appendRunning adds what the server runs to what others run.
func (s *serving) appendRunning(all []Running) []Running {
	now := time.Now()
	s.eachCodec(func(c *serverCodec) {
		for _, call := range c.running {
			all = call.appendTo(all, now)
		}
	})
	return all
}

// appendTo adds a call to those that run.
func (call *serverCall) appendTo(all []Running, now time.Time) []Running {
	if call.method == "" { // net/rpc does not know the name: a stranger may have made it up
		return all
	}
	since := call.since
	if since.IsZero() {
		since = now
	}
	i := slices.IndexFunc(all, func(r Running) bool { return r.Method == call.method })
	if i < 0 {
		return append(all, Running{call.method, 1, since})
	}
	all[i].Calls++
	if since.Before(all[i].Since) {
		all[i].Since = since
	}
	return all
}

const (
	watchInterval = time.Second
	stallTime     = 10 * time.Second // without an end of any call, all places taken
	drainLogPause = 10 * time.Second
	maxLogged     = 10 // methods in a line
)

// A watch finds out whether the calls of a server hold it up. It looks once a second
// while calls run. It also notes since when they run: so a call need not ask for the time.
type watch struct {
	armed atomic.Bool    // the timer will fire
	ended atomic.Uint64  // how many calls have ended
	looks sync.WaitGroup // for the look under way, or the next

	mu       sync.Mutex  // protects following
	timer    *time.Timer // runs look
	closed   bool        // the timer is not set again
	seen     uint64      // ended, at the last look
	changed  time.Time   // when a look last saw that a call had ended, or a free place; zero: none has
	reported bool        // it was logged that the server is held up
}

// arm makes the watch look in a second, unless it will anyway. Each call arms it.
func (s *serving) arm() {
	w := &s.watch
	if w.armed.Load() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.armed.Load() {
		return
	}
	w.looks.Add(1)
	w.armed.Store(true) // before the timer is set: look undoes it
	if w.timer == nil {
		w.timer = time.AfterFunc(watchInterval, s.look)
	} else {
		w.timer.Reset(watchInterval)
	}
}

// look logs that all places are taken by calls that do not end, or that this is over.
func (s *serving) look() {
	w := &s.watch
	defer w.looks.Done()
	w.armed.Store(false) // first, so that a call that is not seen here arms the watch
	now, calls := time.Now(), 0
	s.eachCodec(func(c *serverCodec) {
		calls += len(c.running)
		for _, call := range c.running {
			if call.since.IsZero() {
				call.since = now
			}
		}
	})
	begins, ends := w.see(now, calls == s.opts.MaxInFlight)
	var running []Running
	if begins {
		running = s.appendRunning(nil)
	}
	if calls > 0 {
		s.arm()
	} else {
		w.restart()
	}
	switch {
	case begins:
		s.logRunning(fmt.Sprintf("all places are taken, and no call has ended for %v", stallTime), running)
	case ends:
		s.logEndsAgain()
	}
}

func (s *serving) logEndsAgain() { s.log.logger.Info("jsonrpc2: calls end again") }

// see notes what a look has seen: full says that all places are taken. begins reports whether
// the server is held up from now on, ends whether it no longer is.
func (w *watch) see(now time.Time, full bool) (begins, ends bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if ended := w.ended.Load(); ended != w.seen || !full || w.changed.IsZero() {
		w.seen, w.changed = ended, now
		ends, w.reported = w.reported, false
		return false, ends
	}
	begins = !w.reported && now.Sub(w.changed) >= stallTime
	w.reported = w.reported || begins
	return begins, false
}

// restart makes the watch forget when a call last ended: no call runs.
func (w *watch) restart() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed = time.Time{}
}

// stopWatch ends the watch, and waits for the look under way. It is called when no call runs
// any more.
func (s *serving) stopWatch() {
	w := &s.watch
	w.mu.Lock()
	w.closed = true
	if w.timer != nil && w.timer.Stop() {
		w.looks.Done()
	}
	ends := w.reported
	w.reported = false
	w.mu.Unlock()
	w.looks.Wait()
	if ends {
		s.logEndsAgain()
	}
}

// logRunning logs which methods run, how often and for how long, the oldest first.
func (s *serving) logRunning(why string, running []Running) {
	sortRunning(running)
	var text strings.Builder
	calls := 0
	for i, r := range running {
		calls += r.Calls
		if i < maxLogged {
			fmt.Fprintf(&text, "%s %d for %v, ", quote(r.Method), r.Calls, time.Since(r.Since).Round(time.Second))
		}
	}
	if more := len(running) - maxLogged; more > 0 {
		fmt.Fprintf(&text, "%d more methods, ", more)
	}
	s.log.logger.Warn("jsonrpc2: "+why, slog.Int("calls", calls), slog.String("running", strings.TrimSuffix(text.String(), ", ")))
}

// logDrain logs what a drain waits for, from a second after Grace on, until ended is closed.
func (s *serving) logDrain(ended <-chan struct{}) {
	timer := time.NewTimer(watchInterval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ended:
			return
		}
		if running := s.appendRunning(nil); len(running) > 0 {
			s.logRunning("a drain waits for calls that go on after Grace", running)
		}
		timer.Reset(drainLogPause)
	}
}
