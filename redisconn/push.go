package redisconn

import (
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A push is a value on its way to a list.
type push struct {
	kind   pushKind
	list   string
	body   []byte
	held   *hold.Request // the request that it settles; nil: none
	until  time.Time     // sending an answer is not tried after that
	resent bool          // it may have arrived before

	claimed bool // a claim has settled its request
	alone   bool // the retrier sends it in a pipeline of its own
	parked  int  // its bytes, if it is parked; 0: it has a place. See ledger
	notice  bool // it says that an answer can't be delivered
	strikes int  // how often it failed alone
}

type pushKind int

const (
	pushReply  pushKind = iota // an answer, or a notice in its place
	pushBack                   // a request that is given back
	pushWake                   // the value that ends a blocked pop
	pushSettle                 // no value: it settles a request without an answer
)

const (
	// maxPush is how many values one push has: the stack of a script is limited.
	maxPush = 1000

	// largeMessage is the length beyond which a message goes in a pipeline of its own.
	// Redis may close the connection at a message that is too long, and the rest of the
	// pipeline would be lost with it.
	largeMessage = 256 << 10
)

func (p push) isLarge() bool { return len(p.body) > largeMessage }

func (p push) isLargeReply() bool { return p.kind == pushReply && p.isLarge() }

// gen returns the generation that holds the request, "" if there is no request. See
// internal/hold: a command settles requests of one generation.
func (p push) gen() string {
	if p.held == nil {
		return ""
	}
	return p.held.Gen()
}

func (p push) mustClaim() bool { return p.kind == pushReply && p.held != nil && !p.claimed }

// MarshalBinary returns the body. So a pointer to a push can be an argument of a command. Unlike
// the body itself it needs no memory for that.
func (p *push) MarshalBinary() ([]byte, error) { return p.body, nil }

// appendBodies appends the pushes that are resent, or those that are not.
func appendBodies(args []any, pushes []push, resent bool) []any {
	for i := range pushes {
		if pushes[i].resent == resent {
			args = append(args, &pushes[i])
		}
	}
	return args
}

func appendAll(args []any, pushes []push) []any {
	for i := range pushes {
		args = append(args, &pushes[i])
	}
	return args
}
