package link

import "context"

// An Asker puts questions to a broker, one at a time and each on a goroutine of
// its own: client libraries may be long in noticing that nobody answers, and heed
// no context meanwhile.
type Asker struct {
	busy chan struct{} // holds one while a question is put, and when closed
}

// NewAsker returns an Asker.
func NewAsker() *Asker { return &Asker{busy: make(chan struct{}, 1)} }

// Ask asks a question until ctx is done. It is then false, and the question may
// still be under way.
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

// Close waits for the question under way, and lets no other be asked. It is
// called once.
func (a *Asker) Close() { a.busy <- struct{}{} }
