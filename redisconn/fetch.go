package redisconn

import (
	"errors"
	"sync"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A fetcher takes requests from the source for ReadRequest.
type fetcher struct {
	*shared
	source  source
	fetched chan struct{} // holds one if there may be a request
	read    chan struct{} // holds one if all that was taken may be read
	ended   chan struct{} // closed when fetch has ended

	mu      sync.Mutex    // protects following
	taken   []delivery    // oldest first, not read yet
	buried  []delivery    // to be answered with an error
	fatal   error         // that ended fetch
	drained bool          // nothing is taken any more
	stop    chan struct{} // closed when drained
}

func newFetcher(s *shared) *fetcher {
	return &fetcher{
		shared:  s,
		fetched: make(chan struct{}, 1),
		read:    make(chan struct{}, 1),
		ended:   make(chan struct{}),
		stop:    make(chan struct{}),
	}
}

// fetch takes requests while there are places for them, until the drain. Then
// it gives back what was not read: all in one, for the newest go first.
func (f *fetcher) fetch() {
	defer f.giveBack()
	var backoff link.Backoff
	for {
		free := f.places.Wait(f.stop)
		if f.isDrained() {
			return
		}
		taken, err := f.source.take(free)
		var fatal fatalError
		switch {
		case errors.As(err, &fatal):
			f.fail(err)
			return
		case err != nil:
			f.impaired("taking requests", err)
			link.Wait(backoff.Next(), f.stop)
			continue
		}
		f.state.Worked("taking requests")
		backoff.Reset()
		if len(taken) > 0 {
			f.hand(taken)
		}
		if len(taken) == 1 {
			f.letRead()
		}
	}
}

// letRead waits until all that was taken is read: popping first would delay a lone
// call.
func (f *fetcher) letRead() {
	for f.isUnread() {
		select {
		case <-f.read:
		case <-f.stop:
			return
		}
	}
}

func (f *fetcher) isUnread() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.taken) > 0
}

// hand hands requests to ReadRequest.
func (f *fetcher) hand(taken []delivery) {
	f.places.Take(len(taken))
	f.requests.Add(int64(len(taken)))
	f.mu.Lock()
	defer f.mu.Unlock()
	defer link.Signal(f.fetched)
	if len(f.taken) == 0 { // most often
		f.taken = taken
		return
	}
	f.taken = append(f.taken, taken...)
}

// bury hands on a request that is dead: its caller is answered with an error.
func (f *fetcher) bury(request string, attempts int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.buried = append(f.buried, delivery{body: request, attempt: attempts, dead: true})
	f.places.Take(1)
	link.Signal(f.fetched)
}

func (f *fetcher) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fatal = err
	link.Signal(f.fetched)
}

// giveBack gives back what was taken and not read, until Close.
func (f *fetcher) giveBack() {
	defer close(f.ended)
	f.mu.Lock()
	back := f.taken
	f.taken = nil
	f.mu.Unlock()
	var backoff link.Backoff
	for !f.source.giveBack(back) && link.Wait(backoff.Next(), f.closed) {
		back = nil // the source has them
	}
}

// drain stops the fetcher, at once even where it is blocked. It gives back what
// was taken and not read.
func (f *fetcher) drain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.drained {
		f.drained = true
		close(f.stop)
	}
}

func (f *fetcher) isDrained() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.drained
}

// next takes the next request that may be returned.
func (f *fetcher) next() (d delivery, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.fatal != nil:
		return d, false, f.fatal
	case f.drained:
		return d, false, nil
	case len(f.buried) > 0:
		d = shift(&f.buried)
	case len(f.taken) > 0:
		d = shift(&f.taken)
		if len(f.taken) == 0 {
			link.Signal(f.read)
		}
	default:
		return d, false, nil
	}
	return d, true, nil
}

// shift takes the first of the deliveries, which are then without its body in
// memory, too.
func shift(deliveries *[]delivery) delivery {
	all := *deliveries
	first := all[0]
	all[0] = delivery{}
	*deliveries = all[1:]
	return first
}

// begin reports whether a request may be started. One that may not goes back in a
// drain; else others have taken it over.
func (f *fetcher) begin(d delivery) bool {
	if f.source.begin(d) {
		return true
	}
	if f.isDrained() {
		f.source.giveBack([]delivery{d}) // or leave does
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
