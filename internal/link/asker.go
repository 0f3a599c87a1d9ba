package link

import "context"

// An Asker asks a broker questions, one at a time, each on a goroutine of its own: the broker's
// client library may take long to notice that nobody answers, and not heed a context meanwhile.
type Asker struct {
	busy chan struct{} // full while a question is under way, and after Close
}

// NewAsker returns an Asker.
func NewAsker() *Asker { return &Asker{busy: make(chan struct{}, 1)} }

// Ask returns the answer to a question. ok is false if ctx is done first. The question may
// then still be under way: others wait for its end.
func Ask[T any](ctx context.Context, a *Asker, question func() T) (answer T, ok bool) {
	select {
	case a.busy <- struct{}{}:
	case <-ctx.Done():
		return answer, false
	}
	answers := make(chan T, 1)
	go func() {
		defer func() { <-a.busy }()
		answers <- question()
	}()
	select {
	case answer = <-answers:
		return answer, true
	case <-ctx.Done():
		return answer, false
	}
}

// Close waits for the question under way, and keeps its turn: later questions wait until
// their contexts are done. Close is called once.
func (a *Asker) Close() { a.busy <- struct{}{} }
