package redisconn

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/micromessaging/jsonrpc2"
)

// An inbox is where the answers wait that were taken, for ReadReply.
type inbox struct {
	fetched chan answers
	read    chan struct{} // holds one if the only answer of a pop was read
	closed  chan struct{} // the ClientConn's
	lone    atomic.Bool   // the last pop brought one answer at most
	replies atomic.Int64

	// ReadReply's own.
	taken answers
	alone bool // taken was a single answer
	body  []byte
}

func newInbox(closed chan struct{}) *inbox {
	return &inbox{fetched: make(chan answers), read: make(chan struct{}, 1), closed: closed}
}

// The answers that a pop took.
type answers struct {
	bodies   []string
	requests []*jsonrpc2.Request // that they answer; nil where only the bodies tell
	missing  error               // of the calls that the one answer to a request leaves out
}

func (i *inbox) isClosed() bool {
	select {
	case <-i.closed:
		return true
	default:
		return false
	}
}

// hand hands answers to ReadReply. Popping first would delay a lone caller: hand
// waits until a single answer is read.
func (i *inbox) hand(a answers) {
	i.lone.Store(len(a.bodies) <= 1)
	if len(a.bodies) == 0 {
		return
	}
	select {
	case i.fetched <- a:
	case <-i.closed:
		return
	}
	if len(a.bodies) == 1 {
		select {
		case <-i.read:
		case <-i.closed:
		}
	}
}

// reply returns the next answer.
func (i *inbox) reply(ctx context.Context) (jsonrpc2.Reply, error) {
	i.body = keep(i.body)
	for {
		if err := ctx.Err(); err != nil {
			return jsonrpc2.Reply{}, err
		}
		if len(i.taken.bodies) > 0 {
			reply := i.next()
			if len(reply.Body) == 0 && reply.Request == nil { // it was for the fetcher
				continue
			}
			i.replies.Add(1)
			return reply, nil
		}
		select {
		case i.taken = <-i.fetched:
			i.alone = len(i.taken.bodies) == 1
		case <-ctx.Done():
		case <-i.closed:
			return jsonrpc2.Reply{}, io.EOF
		}
	}
}

// next returns the next of the answers that were taken.
func (i *inbox) next() (reply jsonrpc2.Reply) {
	i.body = append(i.body[:0], i.taken.bodies[0]...)
	reply.Body = i.body
	i.taken.bodies[0] = "" // not kept in memory until more is taken
	i.taken.bodies = i.taken.bodies[1:]
	if len(i.taken.requests) > 0 {
		reply.Request = i.taken.requests[0]
		i.taken.requests = i.taken.requests[1:]
	}
	if reply.Request != nil {
		reply.Missing = i.taken.missing
	}
	if i.alone {
		i.read <- struct{}{}
	}
	return reply
}
