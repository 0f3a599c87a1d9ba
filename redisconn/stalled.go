package redisconn

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A stalled keeps what could not be sent to a node, and says when to try it again. While the
// node is at fault, all pushes wait for it, with one backoff. Otherwise each list has a
// backoff of its own. Any goroutine may call its methods.
type stalled struct {
	wake chan struct{} // receives if there may be something to do
	busy atomic.Bool   // something is kept, and what comes after it may have to wait

	mu       sync.Mutex // protects following
	lists    map[string]*stalledList
	down     bool         // the node is at fault
	backoff  link.Backoff // of the node
	until    time.Time    // while down: the node is not tried before
	closed   bool
	deadline time.Time // if closed: when to give up
}

// A stalledList is what waits for a list. While the retrier tries the pushes, the list stays here
// without them, so that later pushes wait behind them.
type stalledList struct {
	list    string
	pushes  []push
	backoff link.Backoff
	next    time.Time // the list is not tried before
	sent    int64     // the sender's sent when the list last failed; -1: it has not failed
}

const maxReplyPause = 5 * time.Second // between two tries

func newStalled() *stalled {
	return &stalled{wake: make(chan struct{}, 1), lists: make(map[string]*stalledList)}
}

// sendable returns the pushes that can be sent at once. It keeps the others: large answers, all
// while the node is at fault, and those to lists for which something is kept.
func (s *stalled) sendable(work []push) []push {
	if !s.busy.Load() && !slices.ContainsFunc(work, push.isLargeReply) {
		return work
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := work[:0]
	for _, p := range work {
		if s.down || s.lists[p.list] != nil || p.isLargeReply() {
			s.add(p)
		} else {
			rest = append(rest, p)
		}
	}
	return rest
}

// add adds a push to those of its list. A list that is new here is due at once. add is called
// with s.mu locked.
func (s *stalled) add(p push) *stalledList {
	l := s.lists[p.list]
	if l == nil {
		l = &stalledList{list: p.list, sent: -1}
		s.lists[p.list] = l
	}
	p.alone = p.alone || p.isLargeReply()
	l.pushes = append(l.pushes, p)
	s.busy.Store(true)
	link.Signal(s.wake)
	return l
}

// putFailed keeps the pushes of a failure. sent is the sender's sent at that time.
func (s *stalled) putFailed(f failure, sent int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.fault == nodeFault {
		s.nodeFailed()
	}
	for _, p := range f.pushes {
		l := s.add(p)
		l.sent = sent
		if f.fault == listFault {
			l.next = time.Now().Add(l.backoff.Next())
		}
	}
}

// nodeFailed notes that the node is at fault. It is called with s.mu locked.
func (s *stalled) nodeFailed() {
	if now := time.Now(); !s.down || !now.Before(s.until) { // else the pause has begun already
		s.down = true
		s.until = now.Add(min(s.backoff.Next(), maxReplyPause))
	}
}

// putBack keeps pushes that were due and were not tried.
func (s *stalled) putBack(pushes []push) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range pushes {
		s.add(p)
	}
}

// due returns what to try now, and takes it: first what failed least often and is shortest. If
// there is nothing, pause says how long to wait. If pause is negative, the retrier waits until
// something comes. done says that the retrier has to end.
func (s *stalled) due() (due []stalledList, pause time.Duration, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if s.closed && (len(s.lists) == 0 || !now.Before(s.deadline)) {
		return nil, 0, true
	}
	next := now.Add(time.Hour)
	if s.down && now.Before(s.until) {
		next = s.until
	} else {
		for _, l := range s.lists {
			if now.Before(l.next) {
				next = earlier(next, l.next)
				continue
			}
			due = append(due, stalledList{list: l.list, pushes: l.pushes})
			l.pushes = nil
		}
	}
	slices.SortFunc(due, func(a, b stalledList) int {
		x, y := a.pushes[0], b.pushes[0]
		return cmp.Or(x.strikes-y.strikes, len(x.body)-len(y.body))
	})
	switch {
	case s.closed:
		next = earlier(next, s.deadline)
	case len(s.lists) == 0:
		return nil, -1, false
	}
	return due, next.Sub(now), false
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// wait waits until there may be something to do, or for d at most. A negative d is no limit.
func (s *stalled) wait(d time.Duration) {
	if d < 0 {
		<-s.wake
		return
	}
	link.Wait(d, s.wake)
}

// failedAt reports whether the sender's sent was the same when a list last failed: so nothing has
// arrived since. The list is one of those that are tried.
func (s *stalled) failedAt(list string, sent int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lists[list].sent == sent
}

// tried notes that lists were tried, and whether the node works. It forgets the lists of which
// nothing is left.
func (s *stalled) tried(due []stalledList, works bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if works {
		s.down = false
		s.backoff.Reset()
	}
	for _, d := range due {
		if l := s.lists[d.list]; len(l.pushes) == 0 {
			delete(s.lists, d.list)
		}
	}
	s.busy.Store(len(s.lists) > 0)
}

// close makes all pushes due at once. due then reports done when nothing is left, or after
// closeGrace.
func (s *stalled) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.deadline = time.Now().Add(closeGrace)
	s.backoff.Reset()
	s.until = time.Time{}
	for _, l := range s.lists {
		l.next = time.Time{}
	}
	link.Signal(s.wake)
}

// appendLeft appends the pushes that are left when the retrier has ended.
func (s *stalled) appendLeft(left []push) []push {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.lists {
		left = append(left, l.pushes...)
	}
	return left
}
