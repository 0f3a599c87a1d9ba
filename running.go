package jsonrpc2

import (
	"cmp"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
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
	for c := range s.servers {
		c.mu.Lock()
		all = c.appendRunning(all)
		c.mu.Unlock()
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

// enter has Running show what a server runs, until leave.
func (s *ServerStats) enter(c *serverCodec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.servers == nil {
		s.servers = make(map[*serverCodec]struct{})
	}
	s.servers[c] = struct{}{}
}

func (s *ServerStats) leave(c *serverCodec) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.servers, c)
}

// appendRunning adds what the server runs to what others run.
// It is called with c.mu locked.
func (c *serverCodec) appendRunning(all []Running) []Running {
	now := time.Now()
	for _, call := range c.running {
		if call.method == "" { // what a stranger has named, perhaps
			continue
		}
		since := call.since
		if since.IsZero() {
			since = now
		}
		i := slices.IndexFunc(all, func(r Running) bool { return r.Method == call.method })
		if i < 0 {
			all = append(all, Running{call.method, 1, since})
			continue
		}
		all[i].Calls++
		if since.Before(all[i].Since) {
			all[i].Since = since
		}
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
// while calls run: so it also notes since when they do, which spares each call the time.
type watch struct {
	timer    *time.Timer    // runs look
	looks    sync.WaitGroup // for the look under way, or the next
	armed    bool           // timer will fire
	closed   bool
	ended    uint64    // calls
	seen     uint64    // ended, at the last look
	changed  time.Time // when a look last saw that another had ended, or a free place; zero: the watch is new
	reported bool      // that the server is held up
}

// arm has the watch look in a second. It is called with c.mu locked.
func (c *serverCodec) arm() {
	switch {
	case c.watch.armed || c.watch.closed:
		return
	case c.watch.timer == nil:
		c.watch.timer = time.AfterFunc(watchInterval, c.look)
	default:
		c.watch.timer.Reset(watchInterval)
	}
	c.watch.looks.Add(1)
	c.watch.armed = true
}

// look logs that all places are taken by calls that do not end, or that this is over.
func (c *serverCodec) look() {
	defer c.watch.looks.Done()
	now := time.Now()
	c.mu.Lock()
	w := &c.watch
	w.armed = false
	for _, call := range c.running {
		if call.since.IsZero() {
			call.since = now
		}
	}
	begins, ends := w.see(now, len(c.running) == c.opts.MaxInFlight)
	var running []Running
	if begins {
		running = c.appendRunning(nil)
	}
	if len(c.running) > 0 {
		c.arm()
	} else {
		w.changed = time.Time{}
	}
	c.mu.Unlock()
	switch {
	case begins:
		c.logRunning(fmt.Sprintf("all places are taken, and no call has ended for %v", stallTime), running)
	case ends:
		c.logEndsAgain()
	}
}

func (c *serverCodec) logEndsAgain() { c.log.logger.Info("jsonrpc2: calls end again") }

// see reports whether the server is held up from now on, or is no more.
func (w *watch) see(now time.Time, full bool) (begins, ends bool) {
	if w.ended != w.seen || !full || w.changed.IsZero() {
		w.seen, w.changed = w.ended, now
		ends, w.reported = w.reported, false
		return false, ends
	}
	begins = !w.reported && now.Sub(w.changed) >= stallTime
	w.reported = w.reported || begins
	return begins, false
}

// stopWatch ends the looks, when no call runs any more.
func (c *serverCodec) stopWatch() {
	c.mu.Lock()
	w := &c.watch
	w.closed = true
	if w.timer != nil && w.timer.Stop() {
		w.looks.Done()
	}
	ends := w.reported
	w.reported = false
	c.mu.Unlock()
	w.looks.Wait()
	if ends {
		c.logEndsAgain()
	}
}

// logRunning logs which methods run, how often and for how long, the oldest first.
func (c *serverCodec) logRunning(why string, running []Running) {
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
	c.log.logger.Warn("jsonrpc2: "+why, slog.Int("calls", calls), slog.String("running", strings.TrimSuffix(text.String(), ", ")))
}

// logDrain logs what a drain waits for, from a second after Grace on.
func (c *serverCodec) logDrain(ended <-chan struct{}) {
	timer := time.NewTimer(watchInterval)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-ended:
			return
		}
		c.mu.Lock()
		running := c.appendRunning(nil)
		c.mu.Unlock()
		if len(running) > 0 {
			c.logRunning("a drain waits for calls that go on after Grace", running)
		}
		timer.Reset(drainLogPause)
	}
}
