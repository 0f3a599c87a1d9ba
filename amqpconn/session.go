package amqpconn

import (
	"sync"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// sessions follow one another: each is the use of one connection, or of one channel. At most
// one is current.
type sessions[S any] struct {
	changed chan struct{} // receives when there may be another session, or none

	mu      sync.Mutex // protects following
	session *S
}

func newSessions[S any]() sessions[S] { return sessions[S]{changed: make(chan struct{}, 1)} }

// set makes session the current one; nil says that there is none.
func (s *sessions[S]) set(session *S) {
	s.mu.Lock()
	s.session = session
	s.mu.Unlock()
	link.Signal(s.changed)
}

// current returns the current session, nil if there is none.
func (s *sessions[S]) current() *S {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.session
}
