package redisconn

import (
	"slices"
	"strings"
)

// A group is the pushes that one command makes. All are of one kind, go to one list, and settle
// requests of one generation.
type group struct {
	kind    pushKind
	list    string
	pushes  []push
	resent  bool // some pushes may have arrived before
	large   bool // it is one large message
	settles bool // its script also settles the requests
	cmd     unrepeated

	// expires says that the list is a reply list by its name: the command expire follows
	// the push. For any other list a script first checks whether the list may expire, which
	// takes longer.
	expires bool
	expire  unrepeated

	ttl unrepeated // time to live of the list, if plain commands replace the script
}

// groupsOf groups the pushes that go to the same list, in their order, at most maxPush in a
// group. byScript says that the script which pushes answers also settles their requests.
func groupsOf(work []push, byScript bool) []*group {
	if isOneGroup(work) { // most often
		g := newGroup(work[0], byScript)
		g.pushes = work
		g.resent = slices.ContainsFunc(work, func(p push) bool { return p.resent })
		return []*group{g}
	}
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
		g.resent = g.resent || p.resent
	}
	return groups
}

// isOneGroup reports whether all pushes make one group, without a large message. Pushes to one
// list are of one kind.
func isOneGroup(work []push) bool {
	if len(work) == 0 || len(work) > maxPush {
		return false
	}
	first := &work[0]
	for i := range work {
		p := &work[i]
		if p.list != first.list || p.gen() != first.gen() || p.isLarge() {
			return false
		}
	}
	return true
}

// newGroup returns the group that begins with a push. It does not add the push.
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

// runLength returns how many pushes at the beginning go to the same list, at most maxPush. It
// is the room that a group gets, and most often all.
func runLength(work []push) int {
	n := 1
	for n < min(len(work), maxPush) && work[n].list == work[0].list {
		n++
	}
	return n
}

// runOfSmall returns how many groups go in one pipeline: all before the next large message, or
// the large message alone.
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

// hasScript reports whether a script pushes the group, if Redis runs scripts.
func (g *group) hasScript() bool {
	return g.kind == pushWake || g.kind == pushReply && (g.resent || !g.expires)
}

// canBePlain reports whether a script pushes the group, and plain commands can do so, too.
// Plain commands can't settle requests.
func (g *group) canBePlain() bool { return g.hasScript() && !g.settles }
