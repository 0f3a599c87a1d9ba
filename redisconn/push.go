package redisconn

import (
	"strings"
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

// gen returns the generation that has the request: a command settles those of one.
func (p push) gen() string {
	if p.held == nil {
		return ""
	}
	return p.held.Gen()
}

func (p push) mustClaim() bool { return p.kind == pushReply && p.held != nil && !p.claimed }

// A group is the pushes that one command makes.
type group struct {
	kind   pushKind
	list   string
	pushes []push
	again  bool // some may have got there before
	large  bool // it is one large message
	cmd    once

	// A list that is by its name a reply list expires by a command, in place
	// of a script that looks first whether it may, which takes longer.
	expires bool
	expire  once

	ttl once // of the list, where no script looks
}

// group groups what goes to the same list, and drops what took too long.
func (r *replier) group(work []push) []*group {
	now := time.Now()
	var groups []*group
	type key struct{ list, gen string }
	last := make(map[key]*group)
	for i, p := range work {
		if p.kind == pushReply && now.After(p.until) {
			r.expire(p)
			continue
		}
		k := key{p.list, p.gen()}
		g := last[k]
		if g == nil || len(g.pushes) == maxPush || g.large || p.isLarge() {
			g = &group{
				kind:    p.kind,
				list:    p.list,
				large:   p.isLarge(),
				expires: r.expires(p),
				pushes:  make([]push, 0, runLength(work[i:])),
			}
			last[k] = g
			groups = append(groups, g)
		}
		g.pushes = append(g.pushes, p)
		g.again = g.again || p.again
	}
	return groups
}

// runLength returns how many pushes go to the first one's list in a row: all,
// most often.
func runLength(work []push) int {
	n := 1
	for n < min(len(work), maxPush) && work[n].list == work[0].list {
		n++
	}
	return n
}

// expires reports whether the list of a push is a reply list by its name.
func (r *replier) expires(p push) bool {
	return p.kind == pushReply && !r.byScript && strings.HasPrefix(p.list, DefaultReplyPrefix)
}

// command returns the command that makes a group's pushes.
func (r *replier) command(g *group, bySHA bool) []any {
	switch {
	case g.kind == pushSettle:
		return r.settler.dropping(g.pushes)
	case g.kind == pushReply && r.byScript:
		c := r.settler.settling(g.list, g.pushes)
		return scriptOf(c).args(bySHA, c.Keys, c.Args)
	case !r.hasScript(g):
		return appendBodies([]any{"rpush", g.list}, g.pushes, false)
	}
	args := append(make([]any, 0, len(g.pushes)+2), r.opts.ReplyTTL.Milliseconds())
	again := appendBodies(nil, g.pushes, true)
	args = append(append(args, len(again)), again...)
	return replyScript.args(bySHA, []string{g.list}, appendBodies(args, g.pushes, false))
}

// hasScript reports whether a group is pushed by a script, if Redis runs any.
func (r *replier) hasScript(g *group) bool {
	return g.kind == pushWake || g.kind == pushReply && (g.again || !g.expires)
}

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
