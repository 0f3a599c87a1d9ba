package redisconn

import (
	"sync/atomic"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A replyList takes answers from the client's own list. The fetcher alone uses it.
type replyList struct {
	*broker
	name   string
	popper popper
	inbox  *inbox
	rest   *rest
}

const (
	maxPop      = 256     // how many answers are taken at once, at most
	maxPopBytes = 8 << 20 // how many bytes these have, about: see nextPop
)

// fetch takes answers until the ClientConn is closed.
func (l *replyList) fetch() {
	var backoff link.Backoff
	n := 1
	for !l.inbox.isClosed() {
		_, values, err := l.popper.pop(n, l.name)
		if err != nil {
			l.impaired("taking answers", err)
			link.Wait(backoff.Next(), l.inbox.closed)
			continue
		}
		l.worked("taking answers")
		backoff.Reset()
		n = nextPop(n, values)
		l.inbox.hand(answers{bodies: values})
		if len(values) == 0 {
			l.rest.take(l.inbox.closed)
		}
	}
}

// A rest is a time in which a client with no call under way does not look for answers. The
// fetcher takes it. Any goroutine may end it.
type rest struct {
	underWay atomic.Pointer[func() int] // the codec's: how many calls are; nil: not known
	taken    atomic.Bool                // the fetcher rests, or is about to
	over     chan struct{}              // receives if answers may be due
}

// take waits, if nothing is under way, until end is called or closed is closed.
func (r *rest) take(closed <-chan struct{}) {
	// A call counts as under way before it calls end. So this is set before underWay is
	// called: either the call is counted, or its end finds taken set.
	r.taken.Store(true)
	defer r.taken.Store(false)
	if underWay := r.underWay.Load(); underWay == nil || (*underWay)() > 0 {
		return
	}
	select {
	case <-r.over:
	case <-closed:
	}
}

// end ends a rest, if the fetcher takes one.
func (r *rest) end() {
	if r.taken.Load() {
		link.Signal(r.over)
	}
}

// nextPop returns how many answers the next pop asks for, after a pop that asked for n and got
// values: twice as many if it got all n. It asks for fewer if the answers are long, so that a
// flood of them does not fill the memory.
func nextPop(n int, values []string) int {
	longest := 1
	for _, value := range values {
		longest = max(longest, len(value))
	}
	if len(values) == n {
		n *= 2
	}
	return max(1, min(n, maxPop, maxPopBytes/longest))
}
