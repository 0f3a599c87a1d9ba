package redisconn

import (
	"sync"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A lane sends to one node. It waits for no list: what fails is the retrier's.
type lane struct {
	out     *link.Outbox[push]
	sender  *sender
	retrier *retrier
}

func newLane(s *sender) *lane {
	l := &lane{out: link.NewOutbox[push](false), sender: s, retrier: newRetrier(s)}
	l.out.LoneCaller = func() bool { return s.places.Taken() <= l.out.Len() }
	return l
}

// start starts the goroutines, which active counts.
func (l *lane) start(active *sync.WaitGroup) {
	active.Go(l.run)
	active.Go(l.retrier.run)
}

// run sends what waits until the outbox is closed.
func (l *lane) run() {
	defer l.retrier.stalled.close()
	var spare []push
	for open := true; open; {
		<-l.out.Ready()
		var work []push
		work, open = l.out.Take(spare)
		spare = work
		for _, f := range l.sender.send(l.retrier.stalled.hold(work)) {
			l.retrier.failed(f)
		}
		clear(spare) // what was sent is not kept alive
	}
}
