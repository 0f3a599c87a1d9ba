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
	held   *hold.Request // that it settles; nil: none
	until  time.Time     // an answer is not tried after that
	resent bool          // it may have arrived before

	claimed bool // its request is settled already
	alone   bool // it goes in a pipeline of its own
	parked  int  // its bytes, if it waits without a place; 0: it has one
	notice  bool // it says that an answer can't be delivered
	strikes int  // how often it failed alone
}

type pushKind int

const (
	pushReply  pushKind = iota
	pushBack            // a request that is given back
	pushWake            // the value that ends a blocked pop
	pushSettle          // no value: it settles a request without an answer
)

const (
	maxPush = 1000 // values in one push: a script's stack is limited

	// largeMessage is the length from which a message goes in a pipeline of its own.
	// Redis may close the connection on a message that is too long, and so lose the
	// rest of the pipeline.
	largeMessage = 256 << 10
)

func (p push) isLarge() bool { return len(p.body) > largeMessage }

func (p push) isLargeReply() bool { return p.kind == pushReply && p.isLarge() }

// gen returns the generation that has the request, "" if there is none. A command settles
// requests of one generation.
func (p push) gen() string {
	if p.held == nil {
		return ""
	}
	return p.held.Gen()
}

func (p push) mustClaim() bool { return p.kind == pushReply && p.held != nil && !p.claimed }

// MarshalBinary returns the body. A pointer to a push is an argument of a command, as its body
// would be, but takes no memory of its own.
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
