package redisconn

import (
	"sync"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A lane sends pushes to one node. It never waits because of one list: pushes that fail go to
// the retrier. The lane and the retrier have one goroutine each.
type lane struct {
	outbox  *link.Outbox[push]
	sender  *sender
	retrier *retrier
}

func newLane(s *sender) *lane {
	l := &lane{outbox: link.NewOutbox[push](nil), sender: s, retrier: newRetrier(s)}
	l.outbox.LoneCaller = func() bool { return s.places.Taken() == 0 }
	return l
}

// start starts the goroutines of the lane. active counts them.
func (l *lane) start(active *sync.WaitGroup) {
	active.Go(l.run)
	active.Go(l.retrier.run)
}

// run sends what waits until the outbox is closed. Then it closes the retrier's stalled, which
// ends the retrier.
func (l *lane) run() {
	defer l.retrier.stalled.close()
	var spare []push
	for open := true; open; {
		<-l.outbox.Ready()
		var work []push
		work, open = l.outbox.Take(spare)
		spare = work
		for _, f := range l.sender.send(l.retrier.stalled.sendable(work)) {
			l.retrier.failed(f)
		}
		clear(spare) // else it would keep in memory what was sent
	}
}
