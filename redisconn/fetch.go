package redisconn

import (
	"errors"
	"net"
	"sync"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A fetcher takes requests from the source for ReadRequest. Its one goroutine runs fetch. Any
// goroutine may call the other methods, except that next and begin are ReadRequest's.
type fetcher struct {
	*shared
	source  source
	fetched chan struct{} // receives if there may be a request for next
	allRead chan struct{} // receives if all of unread may have been read
	done    chan struct{} // closed when fetch has ended

	mu       sync.Mutex    // protects following
	unread   []delivery    // taken and not read yet, oldest first
	buried   []delivery    // dead, to be answered with an error
	fatal    error         // the error that ended fetch
	drained  bool          // nothing is taken any more
	draining chan struct{} // closed by drain
}

func newFetcher(s *shared) *fetcher {
	return &fetcher{
		shared:   s,
		fetched:  make(chan struct{}, 1),
		allRead:  make(chan struct{}, 1),
		done:     make(chan struct{}),
		draining: make(chan struct{}),
	}
}

// fetch takes requests while there are places for them, until the drain. Then it gives back
// all that was not read in one call, which keeps the order: the newest go back first.
func (f *fetcher) fetch() {
	defer f.giveBack()
	var backoff link.Backoff
	failing := false
	for {
		free := f.places.Wait(f.draining)
		if f.isDrained() {
			return
		}
		taken, err := f.source.take(free)
		var fatal fatalError
		switch {
		case errors.As(err, &fatal):
			f.fail(err)
			return
		case f.isDrained() && errors.Is(err, net.ErrClosed):
			return // the drain could not end the take otherwise: see stop
		case err != nil:
			f.impaired("taking requests", err)
			failing = true
			link.Signal(f.reconnects)
			link.Wait(backoff.Next(), f.draining)
			continue
		}
		if failing {
			failing = false
			link.Signal(f.reconnects)
		}
		f.worked("taking requests")
		backoff.Reset()
		if len(taken) > 0 {
			f.hand(taken)
		}
		if len(taken) == 1 {
			f.awaitAllRead()
		}
	}
}

// awaitAllRead waits until all that was taken is read, or for the drain. If fetch popped first,
// a lone call would be read later.
func (f *fetcher) awaitAllRead() {
	for f.hasUnread() {
		select {
		case <-f.allRead:
		case <-f.draining:
			return
		}
	}
}

func (f *fetcher) hasUnread() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.unread) > 0
}

// hand hands requests to ReadRequest.
func (f *fetcher) hand(taken []delivery) {
	f.places.Take(len(taken))
	f.requests.Add(int64(len(taken)))
	f.mu.Lock()
	defer f.mu.Unlock()
	defer link.Signal(f.fetched)
	if len(f.unread) == 0 { // most often
		f.unread = taken
		return
	}
	f.unread = append(f.unread, taken...)
}

// bury hands a dead request to ReadRequest, so that its caller gets an error. It does not wait
// for a place, so there may be more requests than places.
func (f *fetcher) bury(request string, attempts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buried = append(f.buried, delivery{body: request, attempt: attempts, dead: true})
	f.places.Take(1)
	link.Signal(f.fetched)
}

// fail makes next return the error that ended fetch.
func (f *fetcher) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fatal = err
	link.Signal(f.fetched)
}

// giveBack gives back what was taken and not read. It tries until Close.
func (f *fetcher) giveBack() {
	defer close(f.done)
	f.mu.Lock()
	back := f.unread
	f.unread = nil
	f.mu.Unlock()
	var backoff link.Backoff
	for !f.source.giveBack(back) && link.Wait(backoff.Next(), f.closed) {
		back = nil // the source keeps them for the next try
	}
}

// drain stops the fetcher: source.stop ends a take that is blocked. The fetcher then gives back
// what was taken and not read.
func (f *fetcher) drain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.drained {
		f.drained = true
		close(f.draining)
	}
}

func (f *fetcher) isDrained() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drained
}

// next returns the next request, and reports whether there is one. In a drain there are only
// buried ones: they do not run, and nobody else will tell their callers.
func (f *fetcher) next() (d delivery, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.fatal != nil:
		return d, false, f.fatal
	case len(f.buried) > 0:
		d = shift(&f.buried)
	case f.drained:
		return d, false, nil
	case len(f.unread) > 0:
		d = shift(&f.unread)
		if len(f.unread) == 0 {
			link.Signal(f.allRead)
		}
	default:
		return d, false, nil
	}
	return d, true, nil
}

// shift removes and returns the first delivery. The slice keeps nothing of it alive.
func shift(deliveries *[]delivery) delivery {
	all := *deliveries
	first := all[0]
	all[0] = delivery{}
	*deliveries = all[1:]
	return first
}

// begin reports whether a request may be started. If not, the server drains, and begin gives
// the request back, or another server has taken the request over, and begin drops it.
func (f *fetcher) begin(d delivery) bool {
	if f.source.begin(d) {
		return true
	}
	if f.isDrained() {
		f.source.giveBack([]delivery{d}) // if this fails, leave tries again
		return false
	}
	f.leaseLost.Add(1)
	f.source.settled(push{held: d.held})
	f.places.Free(1)
	return false
}

// cause returns the error that ended the fetcher, nil if none did.
func (f *fetcher) cause() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fatal
}
