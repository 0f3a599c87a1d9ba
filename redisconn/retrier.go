package redisconn

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A retrier sends again what a lane could not send. While the node is at fault
// all waits for it, with one backoff. Else each list has its own, and what failed
// goes alone. Large messages it sends at first, too, so that the lane is not
// held up by them.
//
// An answer that fails alone while others arrive is given up, and its caller is
// told.
type retrier struct {
	sender *sender
	wake   chan struct{} // holds one if there may be something to do
	busy   atomic.Bool   // there may be something to hold

	mu       sync.Mutex // protects following
	lists    map[string]*stalled
	down     bool         // the node is at fault
	backoff  link.Backoff // of the node
	until    time.Time    // the node is not tried before
	closed   bool
	deadline time.Time // to give up, when closed
}

// A stalled is what waits for a list.
type stalled struct {
	list    string
	pushes  []push
	backoff link.Backoff
	next    time.Time // not tried before
	sent    int64     // of the sender, when it last failed
}

const (
	maxReplyPause = 5 * time.Second // between two tries

	// maxStrikes is how often an answer fails alone, while others arrive, before
	// it is given up: in about a second.
	maxStrikes = 5
)

func newRetrier(s *sender) *retrier {
	return &retrier{sender: s, wake: make(chan struct{}, 1), lists: make(map[string]*stalled)}
}

// hold keeps what can't be sent at once, and returns the rest.
func (r *retrier) hold(work []push) []push {
	if !r.busy.Load() && !slices.ContainsFunc(work, push.isLargeReply) {
		return work
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	rest := work[:0]
	for _, p := range work {
		if r.down || r.lists[p.list] != nil || p.isLargeReply() {
			r.add(p)
		} else {
			rest = append(rest, p)
		}
	}
	return rest
}

// add adds a push to those of its list, which is tried at once if it is new here.
// It is called with r.mu locked.
func (r *retrier) add(p push) *stalled {
	s := r.lists[p.list]
	if s == nil {
		s = &stalled{list: p.list, sent: -1}
		r.lists[p.list] = s
	}
	p.alone = p.alone || p.isLargeReply()
	s.pushes = append(s.pushes, p)
	r.busy.Store(true)
	link.Signal(r.wake)
	return s
}

// failed keeps what failed, to be tried again.
func (r *retrier) failed(f failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f.fault == nodeFault {
		r.nodeFailed()
	}
	for _, p := range f.pushes {
		if f.fault != nodeFault {
			p.alone = true
			p = r.sender.ledger.park(p)
		}
		s := r.add(p)
		s.sent = r.sender.sent.Load()
		if f.fault == listFault {
			s.next = time.Now().Add(s.backoff.Next())
		}
	}
}

// nodeFailed is called with r.mu locked.
func (r *retrier) nodeFailed() {
	if now := time.Now(); !r.down || !now.Before(r.until) { // else it was noted
		r.down = true
		r.until = now.Add(min(r.backoff.Next(), maxReplyPause))
	}
}

// run sends what failed until the retrier is closed and all is sent, or
// closeGrace is over.
func (r *retrier) run() {
	for {
		due, pause, done := r.due()
		switch {
		case done:
			return
		case len(due) == 0:
			waitFor(pause, r.wake)
		default:
			r.try(due)
		}
	}
}

// waitFor waits for d, without end if it is negative, or for wake.
func waitFor(d time.Duration, wake <-chan struct{}) {
	if d < 0 {
		<-wake
		return
	}
	link.Wait(d, wake)
}

// due takes what is to be tried now: first what failed least and is shortest. If
// there is nothing, pause says how long to wait, negative for until something
// comes.
func (r *retrier) due() (due []stalled, pause time.Duration, done bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if r.closed && (len(r.lists) == 0 || !now.Before(r.deadline)) {
		return nil, 0, true
	}
	next := now.Add(time.Hour)
	if r.down && now.Before(r.until) {
		next = r.until
	} else {
		for _, s := range r.lists {
			if now.Before(s.next) {
				next = earlier(next, s.next)
				continue
			}
			due = append(due, stalled{list: s.list, pushes: s.pushes})
			s.pushes = nil
		}
	}
	slices.SortFunc(due, func(a, b stalled) int {
		x, y := a.pushes[0], b.pushes[0]
		return cmp.Or(x.strikes-y.strikes, len(x.body)-len(y.body))
	})
	switch {
	case r.closed:
		next = earlier(next, r.deadline)
	case len(r.lists) == 0:
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

// try sends what is due: together what failed for the node alone, then one by one
// what failed otherwise. It stops when the node fails.
func (r *retrier) try(due []stalled) {
	before := r.sender.sent.Load()
	var together []push
	var alone []push
	for _, s := range due {
		if slices.ContainsFunc(s.pushes, func(p push) bool { return p.alone }) {
			alone = append(alone, s.pushes...)
		} else {
			together = append(together, s.pushes...)
		}
	}
	ok := r.tryTogether(together)
	for i, p := range alone {
		if ok = ok && r.tryAlone(p); !ok {
			r.putBack(alone[i+1:])
			break
		}
	}
	r.tried(due, ok && r.sender.sent.Load() != before)
}

// tryTogether is false if the node failed.
func (r *retrier) tryTogether(pushes []push) (ok bool) {
	ok = true
	for _, f := range r.sender.send(pushes) {
		r.failed(f)
		ok = ok && f.fault != nodeFault
	}
	return ok
}

// tryAlone sends one push. What fails so a second time is replaced by word to its
// caller. It is false if the node failed.
func (r *retrier) tryAlone(p push) (ok bool) {
	failed := r.sender.send([]push{p})
	if len(failed) == 0 {
		return true
	}
	f := failed[0]
	p = f.pushes[0]
	if f.fault == nodeFault {
		r.failed(f)
		return false
	}
	p.strikes++
	if p.kind != pushReply || p.strikes < 2 {
		r.strike(p)
		return true
	}
	if untold := r.sender.send([]push{noticeOf(p, f.err)}); len(untold) > 0 {
		return r.notTold(p, f.err, untold[0])
	}
	r.sender.ledger.replaced(p, f.err)
	return true
}

// notTold sees to an answer whose caller can't be told either that it can't be
// delivered. It is false if the node failed, as it did if it took not even that.
func (r *retrier) notTold(p push, err error, f failure) (ok bool) {
	switch {
	case f.fault != listFault:
		r.failed(failure{[]push{p}, nodeFault, f.err})
		return false
	case !r.othersArrive(p.list):
		r.sender.impaired("answering", err)
		r.strike(p)
	case p.strikes >= maxStrikes:
		r.sender.ledger.refuse(p, err)
	default:
		r.strike(p)
	}
	return true
}

// othersArrive reports whether the node took something since the list last failed.
func (r *retrier) othersArrive(list string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.lists[list].sent != r.sender.sent.Load()
}

// strike has a push that failed alone wait.
func (r *retrier) strike(p push) { r.failed(failure{pushes: []push{p}, fault: listFault}) }

func (r *retrier) putBack(pushes []push) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range pushes {
		r.add(p)
	}
}

// tried notes that what was due was tried, and whether the node works.
func (r *retrier) tried(due []stalled, works bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if works {
		r.down = false
		r.backoff.Reset()
	}
	for _, d := range due {
		if s := r.lists[d.list]; len(s.pushes) == 0 {
			delete(r.lists, d.list)
		}
	}
	r.busy.Store(len(r.lists) > 0)
}

// close has run end when all is sent, or after closeGrace.
func (r *retrier) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.deadline = time.Now().Add(closeGrace)
	r.backoff.Reset()
	r.until = time.Time{}
	for _, s := range r.lists {
		s.next = time.Time{}
	}
	link.Signal(r.wake)
}

// appendUnsent appends the pushes that are left.
func (r *retrier) appendUnsent(unsent []push) []push {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.lists {
		unsent = append(unsent, s.pushes...)
	}
	return unsent
}
