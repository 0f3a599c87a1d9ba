package redisconn

import "strings"

// A group is the pushes that one command makes.
type group struct {
	kind    pushKind
	list    string
	pushes  []push
	again   bool // some may have got there before
	large   bool // it is one large message
	settles bool // its script settles requests, too
	cmd     unrepeated

	// A list that is by its name a reply list expires by a command, in place
	// of a script that looks first whether it may, which takes longer.
	expires bool
	expire  unrepeated

	ttl unrepeated // of the list, where no script looks
}

// groupsOf groups what goes to the same list. Where byScript is set, requests are
// settled by the script that pushes their answers.
func groupsOf(work []push, byScript bool) []*group {
	var groups []*group
	type key struct{ list, gen string }
	last := make(map[key]*group)
	for i, p := range work {
		k := key{p.list, p.gen()}
		g := last[k]
		if g == nil || len(g.pushes) == maxPush || g.large || p.isLarge() {
			g = newGroup(p, byScript)
			g.pushes = make([]push, 0, runLength(work[i:]))
			last[k] = g
			groups = append(groups, g)
		}
		g.pushes = append(g.pushes, p)
		g.again = g.again || p.again
	}
	return groups
}

// newGroup returns the group that a push begins, still without it.
func newGroup(first push, byScript bool) *group {
	isReply := first.kind == pushReply
	return &group{
		kind:    first.kind,
		list:    first.list,
		large:   first.isLarge(),
		settles: isReply && byScript,
		expires: isReply && !byScript && strings.HasPrefix(first.list, DefaultReplyPrefix),
	}
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

// runOfSmall returns how many groups go in one pipeline: those up to the next
// large message, or that alone.
func runOfSmall(groups []*group) int {
	if groups[0].large {
		return 1
	}
	n := 1
	for n < len(groups) && !groups[n].large {
		n++
	}
	return n
}

// hasScript reports whether the group is pushed by a script, if Redis runs any.
func (g *group) hasScript() bool {
	return g.kind == pushWake || g.kind == pushReply && (g.again || !g.expires)
}

// canBePlain reports whether the group is pushed by a script, if Redis runs any, and
// can be pushed without. One that settles requests can't.
func (g *group) canBePlain() bool { return g.hasScript() && !g.settles }
