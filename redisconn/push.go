package redisconn

import (
	"strings"
	"time"
)

// A push is a value on its way to a list.
type push struct {
	kind  pushKind
	list  string
	body  []byte
	token int64     // that its request is held under; 0: it is not
	until time.Time // an answer is tried for so long
	again bool      // it may have got there before

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

func (p push) mustClaim() bool { return p.kind == pushReply && p.token != 0 && !p.claimed }

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
	last := make(map[string]*group)
	for i, p := range work {
		if p.kind == pushReply && now.After(p.until) {
			r.expire(p)
			continue
		}
		g := last[p.list]
		if g == nil || len(g.pushes) == maxPush || g.large || p.isLarge() {
			g = &group{
				kind:    p.kind,
				list:    p.list,
				large:   p.isLarge(),
				expires: r.expires(p),
				pushes:  make([]push, 0, runLength(work[i:])),
			}
			last[p.list] = g
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
	return p.kind == pushReply && (r.server.lease == nil || r.apart) && strings.HasPrefix(p.list, DefaultReplyPrefix)
}

// command returns the command that makes a group's pushes.
func (r *replier) command(g *group, bySHA bool) []any {
	lease := r.server.lease
	switch {
	case g.kind == pushSettle:
		return appendTokens([]any{"hdel", lease.wip()}, g.pushes)
	case g.kind == pushBack && lease != nil:
		return backScript.args(bySHA, []string{g.list, lease.wip()}, appendTokens(nil, g.pushes))
	case !r.hasScript(g):
		return appendBodies([]any{"rpush", g.list}, g.pushes, false)
	case g.kind == pushReply && lease != nil && !r.apart:
		args := append(make([]any, 0, 2*len(g.pushes)+1), r.server.opts.ReplyTTL.Milliseconds())
		for _, p := range g.pushes {
			args = append(args, p.token, p.body)
		}
		return settleScript.args(bySHA, []string{g.list, lease.wip()}, args)
	}
	args := append(make([]any, 0, len(g.pushes)+2), r.server.opts.ReplyTTL.Milliseconds())
	again := appendBodies(nil, g.pushes, true)
	args = append(append(args, len(again)), again...)
	return replyScript.args(bySHA, []string{g.list}, appendBodies(args, g.pushes, false))
}

// hasScript reports whether a group is pushed by a script, if Redis runs any.
func (r *replier) hasScript(g *group) bool {
	switch g.kind {
	case pushReply:
		return g.again || !g.expires
	case pushBack:
		return r.server.lease != nil
	}
	return g.kind == pushWake
}

func appendTokens(args []any, pushes []push) []any {
	for _, p := range pushes {
		args = append(args, p.token)
	}
	return args
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
