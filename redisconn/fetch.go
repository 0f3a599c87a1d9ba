package redisconn

import (
	"errors"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// fetch takes requests while there are places for them, until the drain. Then
// it gives back what was not read: all in one, for the newest go first.
func (s *ServerConn) fetch() {
	defer s.giveBack()
	var backoff link.Backoff
	for {
		free := s.places.Wait(s.stop)
		if s.isDrained() {
			return
		}
		taken, err := s.source.take(free)
		var fatal fatalError
		switch {
		case errors.As(err, &fatal):
			s.fail(err)
			return
		case err != nil:
			s.impaired("taking requests", err)
			link.Wait(backoff.Next(), s.stop)
			continue
		}
		s.state.Worked("taking requests")
		backoff.Reset()
		if len(taken) > 0 {
			s.hand(taken)
		}
		if len(taken) == 1 {
			s.letRead()
		}
	}
}

// letRead waits until all that was taken is read: popping first would delay a lone
// call.
func (s *ServerConn) letRead() {
	for s.isUnread() {
		select {
		case <-s.read:
		case <-s.stop:
			return
		}
	}
}

func (s *ServerConn) isUnread() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.taken) > 0
}

// hand hands requests to ReadRequest.
func (s *ServerConn) hand(taken []delivery) {
	s.places.Take(len(taken))
	s.requests.Add(int64(len(taken)))
	s.mu.Lock()
	defer s.mu.Unlock()
	defer link.Signal(s.fetched)
	if len(s.taken) == 0 { // most often
		s.taken = taken
		return
	}
	s.taken = append(s.taken, taken...)
}

// bury hands on a request that is dead: its caller is answered with an error.
func (s *ServerConn) bury(request string, attempts int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.buried = append(s.buried, delivery{body: request, attempt: attempts, dead: true})
	s.places.Take(1)
	link.Signal(s.fetched)
}

func (s *ServerConn) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fatal = err
	link.Signal(s.fetched)
}

// giveBack gives back what was taken and not read, until Close.
func (s *ServerConn) giveBack() {
	defer close(s.ended)
	s.mu.Lock()
	back := s.taken
	s.taken = nil
	s.mu.Unlock()
	var backoff link.Backoff
	for !s.source.giveBack(back) && link.Wait(backoff.Next(), s.closed) {
		back = nil // the source has them
	}
}

// drain stops the fetcher, at once even where it is blocked. It gives back what
// was taken and not read.
func (s *ServerConn) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.drained {
		s.drained = true
		close(s.stop)
	}
}

func (s *ServerConn) isDrained() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.drained
}
