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
		if !s.beginPop() {
			return
		}
		taken, err := s.take(free)
		s.endPop()
		switch {
		case errors.Is(err, errOld), errors.Is(err, errNoClient):
			s.fail(err)
			return
		case err != nil:
			impaired(s.state, s.popper.rdb, "taking requests", err)
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

// take waits for requests, for blockTime at most, and takes up to n.
func (s *ServerConn) take(n int) ([]delivery, error) {
	if s.lease != nil {
		return s.lease.take(n)
	}
	list, values, err := s.popper.pop(n, s.wakeList, s.queue)
	if err != nil || list == s.wakeList {
		return nil, err
	}
	taken := make([]delivery, len(values))
	for i, value := range values {
		taken[i].body = value
	}
	return taken, nil
}

// beginPop notes that a drain has to wake the fetcher. It is false when there is
// one already.
func (s *ServerConn) beginPop() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.popping = !s.drained
	return s.popping
}

func (s *ServerConn) endPop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.popping = false
}

// hand hands requests to ReadRequest.
func (s *ServerConn) hand(taken []delivery) {
	s.places.Take(len(taken))
	s.requests.Add(int64(len(taken)))
	s.mu.Lock()
	defer s.mu.Unlock()
	defer link.Signal(s.fetched)
	if len(s.taken) == 0 && s.lease == nil { // most often
		s.taken = taken
		return
	}
	for _, d := range taken {
		if d.isSuspect() {
			s.suspects = append(s.suspects, d)
		} else {
			s.taken = append(s.taken, d)
		}
	}
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

// giveBack gives back what was taken and not read.
func (s *ServerConn) giveBack() {
	defer close(s.ended)
	s.mu.Lock()
	back := append(s.suspects, s.taken...)
	s.taken, s.suspects = nil, nil
	s.mu.Unlock()
	s.replier.giveBack(back)
	if s.lease != nil {
		s.lease.disconnect()
		s.lease.unstage()
	}
}

// drain stops the fetcher, at once even where it is blocked. It gives back what
// was taken and not read.
func (s *ServerConn) drain() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.drained {
		return
	}
	s.drained = true
	close(s.stop)
	if s.popping && s.lease == nil {
		s.replier.wake()
	}
}

func (s *ServerConn) isPopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.popping
}
