package redisconn

import (
	"context"
	"io"
	"sync/atomic"

	"github.com/micromessaging/jsonrpc2"
)

// An inbox holds the answers that were taken and wait for ReadReply. The fetcher calls hand,
// ReadReply calls reply.
type inbox struct {
	fetched    chan answers  // unbuffered: what hand has passed on, reply has
	singleRead chan struct{} // receives when the only answer of a pop was read
	closed     chan struct{} // the ClientConn's
	poppedOne  atomic.Bool   // the last pop brought one answer at most
	replies    atomic.Int64

	// ReadReply's own.
	unread answers
	single bool   // the answer in unread was the only one of its pop
	body   []byte // of the last reply; the next one overwrites it
}

func newInbox(closed chan struct{}) *inbox {
	return &inbox{fetched: make(chan answers), singleRead: make(chan struct{}, 1), closed: closed}
}

// answers are what one pop took.
type answers struct {
	bodies   []string
	requests []*jsonrpc2.Request // each answered by the body beside it; nil: only the bodies tell
	missing  error               // for the calls in these requests that the bodies do not answer
}

func (i *inbox) isClosed() bool {
	select {
	case <-i.closed:
		return true
	default:
		return false
	}
}

// hand hands answers to ReadReply. If there is a single answer, hand waits until it is read: if
// the fetcher popped first, a lone caller would get its answer later.
func (i *inbox) hand(a answers) {
	i.poppedOne.Store(len(a.bodies) <= 1)
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
		case <-i.singleRead:
		case <-i.closed:
		}
	}
}

// reply returns the next answer, or io.EOF once closed is closed and no answer is left.
func (i *inbox) reply(ctx context.Context) (jsonrpc2.Reply, error) {
	i.body = keep(i.body)
	for {
		if err := ctx.Err(); err != nil {
			return jsonrpc2.Reply{}, err
		}
		if len(i.unread.bodies) > 0 {
			reply := i.next()
			if len(reply.Body) == 0 && reply.Request == nil { // it ended a blocked pop
				continue
			}
			i.replies.Add(1)
			return reply, nil
		}
		select {
		case i.unread = <-i.fetched:
			i.single = len(i.unread.bodies) == 1
		case <-ctx.Done():
		case <-i.closed:
			return jsonrpc2.Reply{}, io.EOF
		}
	}
}

// next returns the next of the answers that were taken.
func (i *inbox) next() (reply jsonrpc2.Reply) {
	i.body = append(i.body[:0], i.unread.bodies[0]...)
	reply.Body = i.body
	i.unread.bodies[0] = "" // the slice would keep it alive
	i.unread.bodies = i.unread.bodies[1:]
	if len(i.unread.requests) > 0 {
		reply.Request = i.unread.requests[0]
		i.unread.requests = i.unread.requests[1:]
	}
	if reply.Request != nil {
		reply.Missing = i.unread.missing
	}
	if i.single {
		i.singleRead <- struct{}{}
	}
	return reply
}
