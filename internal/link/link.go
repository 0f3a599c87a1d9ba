// Package link has what the Conns share that reconnect to a broker:
//
//   - [Outbox], for a writer that takes all that waits, and [Requests], one for requests
//   - [Places], which limit the requests that a server has taken
//   - [Asker], which asks a broker questions
//   - [State], which knows and logs what fails, [Causes] and [Recovery]
//   - [Backoff], and small functions to wait and to wake
//
// Any number of goroutines may use an Outbox, Requests, Places, an Asker, a State and a
// Recovery at once, unless a method says otherwise.
package link

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// A Backoff says how long to wait before the next try. The zero value is ready
// for use.
type Backoff struct {
	Max  time.Duration // the longest delay; 5 s if 0
	last time.Duration // the last delay, before its random part was taken off
}

// Next returns the next delay: twice the one before, from 50 ms to Max, less up to a half
// at random, so that many clients do not come back at once.
func (b *Backoff) Next() time.Duration {
	most := b.Max
	if most == 0 {
		most = maxBackoff
	}
	b.last = min(max(2*b.last, minBackoff), most)
	return b.last - mathrand.N(b.last/2)
}

// Reset makes the next delay a short one again.
func (b *Backoff) Reset() { b.last = 0 }

// Wait waits for d, or until done receives or is closed. It reports whether it waited for
// d.
func Wait(d time.Duration, done <-chan struct{}) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-done:
		return false
	}
}

// Signal wakes the goroutine that waits on c, or the next that will wait. It never blocks: c
// has room for one signal, and a second one is not needed.
func Signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// A State knows which activities of a Conn fail, and why. An activity is a text, such as
// "publishing requests". An outage begins when one of them fails, and ends when all work
// again. A State logs the beginning and the end of an outage, and in between each other
// cause, ten causes at most.
type State struct {
	Logger     *slog.Logger // with the attributes of the connection
	Recoveries atomic.Int64 // outages that have ended
	Changes    atomic.Int64 // rises when an activity begins to fail, or works again

	telling sync.Mutex // held over a change and its line in the log; locked before mu
	causes  Causes     // those of the outage that were logged; protected by telling

	mu      sync.Mutex      // protects following; not held while a handler logs, which may take long
	failing map[string]bool // the activities that fail
	since   time.Time       // when the last outage began
	cause   error           // the last one; nil while all work
}

// NewState returns the State of one end of a queue. It logs to slog.Default() if
// logger is nil.
func NewState(logger *slog.Logger, conn, queue, role string) *State {
	if logger == nil {
		logger = slog.Default()
	}
	return &State{Logger: logger.With(slog.String("conn", conn), slog.String("queue", queue), slog.String("role", role))}
}

// NewName returns a name that nothing else has: 32 hexadecimal digits.
func NewName() string {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	return hex.EncodeToString(random[:])
}

// Failed notes that an activity failed.
func (s *State) Failed(activity string, err error) {
	s.telling.Lock()
	defer s.telling.Unlock()
	begins := s.fail(activity, err)
	if begins {
		s.causes.Clear()
	}
	switch isNew := s.causes.IsNew(causeText(err)); {
	case begins:
		s.Logger.Error("connection impaired, trying again", slog.String("while", activity), slog.Any("error", err))
	case isNew:
		s.Logger.Error("connection impaired by another cause", slog.String("while", activity), slog.Any("error", err))
	}
}

// fail notes a failure, and reports whether it begins an outage.
func (s *State) fail(activity string, err error) (begins bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cause = err
	begins = len(s.failing) == 0
	if begins {
		s.since = time.Now()
	}
	if !s.failing[activity] {
		if s.failing == nil {
			s.failing = make(map[string]bool)
		}
		s.failing[activity] = true
		s.Changes.Add(1)
	}
	return begins
}

// causeText returns the text by which causes are compared. It leaves out the addresses of a
// network error: the port of this machine differs from one try to the next.
func causeText(err error) string {
	var op *net.OpError
	if errors.As(err, &op) && op.Err != nil {
		return op.Err.Error()
	}
	return err.Error()
}

// Cause returns why the connection is impaired: the last failure, or nil while all
// activities work.
func (s *State) Cause() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cause
}

// Worked notes that an activity worked. It reports whether that has ended an outage.
func (s *State) Worked(activity string) (recovered bool) {
	if !s.isFailing(activity) {
		return false
	}
	s.telling.Lock()
	defer s.telling.Unlock()
	since, recovered := s.work(activity)
	if recovered {
		s.Logger.Info("connection works again", slog.Duration("after", time.Since(since).Round(time.Millisecond)))
	}
	return recovered
}

func (s *State) isFailing(activity string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failing[activity]
}

// work notes that an activity worked. It reports whether that ends an outage, and since when
// that has lasted.
func (s *State) work(activity string) (since time.Time, ends bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.failing[activity] {
		return since, false
	}
	delete(s.failing, activity)
	s.Changes.Add(1)
	if len(s.failing) > 0 {
		return since, false
	}
	s.cause = nil
	s.Recoveries.Add(1)
	return s.since, true
}

// LogUnsent logs how many requests a Close could not send, unless there are none.
func (s *State) LogUnsent(requests int64) {
	if requests > 0 {
		s.Logger.Warn("closed with requests unsent", slog.Int64("requests", requests), slog.Any("error", s.Cause()))
	}
}
