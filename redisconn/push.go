package redisconn

import (
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A push is a value on its way to a list.
type push struct {
	kind  pushKind
	list  string
	body  []byte
	held  *hold.Request // that it settles; nil: none
	until time.Time     // an answer is tried for so long
	again bool          // it may have got there before

	claimed bool // its request is settled
	alone   bool // it goes in a pipeline of its own
	parked  int  // bytes for which it waits without a place; 0: it holds one
	notice  bool // it says that an answer can't be delivered
	strikes int  // how often it failed alone
}

type pushKind int

const (
	pushReply  pushKind = iota
	pushBack            // a request that is given back
	pushWake            // the value that ends a blocked pop
	pushSettle          // none: its request needs no answer, or no other
)

const (
	maxPush = 1000 // values in one push: a script's stack is limited

	// largeMessage is how long a message is that travels alone. The broker may cut
	// the connection for one that is too long, and with it what goes beside it.
	largeMessage = 256 << 10
)

func (p push) isLarge() bool { return len(p.body) > largeMessage }

func (p push) isLargeReply() bool { return p.kind == pushReply && p.isLarge() }

// gen returns the generation that has the request: a command settles those of one.
func (p push) gen() string {
	if p.held == nil {
		return ""
	}
	return p.held.Gen()
}

func (p push) mustClaim() bool { return p.kind == pushReply && p.held != nil && !p.claimed }

// appendBodies appends the bodies of those pushes that are sent again, or of
// those that are not.
func appendBodies(args []any, pushes []push, again bool) []any {
	for _, p := range pushes {
		if p.again == again {
			args = append(args, p.body)
		}
	}
	return args
}

func appendAll(args []any, pushes []push) []any {
	for _, p := range pushes {
		args = append(args, p.body)
	}
	return args
}
