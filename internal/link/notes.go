package link

import (
	"sync"

	"github.com/micromessaging/jsonrpc2"
)

// Notes are the messages that a transport itself has for the codec: those with
// an Err. The zero value is not ready for use.
type Notes struct {
	ready chan struct{} // holds one if there may be a note
	limit int

	mu    sync.Mutex // protects following
	notes []jsonrpc2.Message
}

// NewNotes returns Notes that drop what is over the limit; 0 is no limit.
func NewNotes(limit int) *Notes {
	return &Notes{ready: make(chan struct{}, 1), limit: limit}
}

// Add leaves a note about body, which it keeps.
func (n *Notes) Add(body []byte, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.limit > 0 && len(n.notes) == n.limit {
		return
	}
	n.notes = append(n.notes, jsonrpc2.Message{Body: body, Reply: noReply, Err: err})
	Signal(n.ready)
}

// noReply is a note's: nothing is to be settled.
func noReply([]byte) error { return nil }

// Ready receives when there may be a note.
func (n *Notes) Ready() <-chan struct{} { return n.ready }

// Next takes the next note.
func (n *Notes) Next() (note jsonrpc2.Message, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.notes) == 0 {
		return note, false
	}
	note, n.notes = n.notes[0], n.notes[1:]
	if len(n.notes) == 0 {
		n.notes = nil
	} else {
		Signal(n.ready)
	}
	return note, true
}
