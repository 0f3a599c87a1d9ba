package redisconn

import (
	"sync/atomic"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A replyList takes answers from the client's own list.
type replyList struct {
	*broker
	name   string
	popper popper
	inbox  *inbox
	rest   *rest
}

const (
	maxPop      = 256     // answers taken at once
	maxPopBytes = 8 << 20 // about as many bytes of them
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

// A rest is when a client that has nothing under way does not look for answers.
type rest struct {
	underWay atomic.Pointer[func() int] // of the codec; nil: not known
	taken    atomic.Bool
	over     chan struct{} // receives if answers may be due
}

// take waits, if nothing is under way, until end is called or closed is closed.
func (r *rest) take(closed <-chan struct{}) {
	r.taken.Store(true) // before underWay is called: a call begins before it calls end
	defer r.taken.Store(false)
	if underWay := r.underWay.Load(); underWay == nil || (*underWay)() > 0 {
		return
	}
	select {
	case <-r.over:
	case <-closed:
	}
}

// end ends a rest.
func (r *rest) end() {
	if r.taken.Load() {
		link.Signal(r.over)
	}
}

// nextPop returns how many answers the next pop asks for, after one that asked for n and got
// values. It asks for fewer if the answers are long, so that a flood of them does not fill
// the memory.
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
