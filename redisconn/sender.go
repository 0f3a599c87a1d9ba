package redisconn

import (
	"fmt"
	"slices"
	"sync/atomic"
)

// A sender sends pushes to one node, and handles the results. A lane and its retrier share
// it: both may call it at the same time.
type sender struct {
	*shared
	settler settler
	ledger  *ledger
	pusher  *pusher
	watch   *watch

	sent atomic.Int64 // groups that arrived: while it rises, the node works
	woke atomic.Bool  // the wake list may exist, and has to be removed
}

// send sends all pushes, and returns those to be tried again, with their errors. It drops the
// answers whose time is over, those whose list refuses them, and those whose requests were
// taken over.
func (s *sender) send(work []push) (failed []failure) {
	if len(work) == 0 {
		return nil
	}
	work, err := s.ledger.claim(work)
	if err != nil {
		s.impaired("answering", err)
		return []failure{{slices.Clone(work), nodeFault, err}}
	}
	groups := groupsOf(s.ledger.inTime(work), s.settler.byScript())
	for i := 0; i < len(groups); {
		n := runOfSmall(groups[i:])
		s.pusher.push(groups[i : i+n])
		i += n
	}
	for _, g := range groups {
		if f, done := s.finish(g); !done {
			failed = append(failed, f)
		}
	}
	return failed
}

// finish handles the result of a group. It reports whether the group is done. If not, it
// returns the failure, and the group may be tried again.
func (s *sender) finish(g *group) (f failure, done bool) {
	err := g.cmd.Err()
	if g.kind == pushWake && !certainlyNotRun(err, false) {
		s.woke.Store(true)
	}
	switch {
	case err == nil:
		s.arrived(g)
		return failure{}, true
	case g.kind == pushReply && isListsFault(err): // trying again would not help
		for _, p := range g.pushes {
			s.ledger.refuse(p, err)
		}
		return failure{}, true
	case g.kind == pushWake && !s.popping.Load(): // the pop has ended by itself
		return failure{}, true
	}
	f = failure{g.pushes, faultOf(err), err}
	if f.fault == nodeFault || f.fault == connFault && !g.pushes[0].alone {
		s.impaired("answering", err)
	}
	if certainlyNotRun(err, false) {
		return f, false
	}
	if g.kind == pushBack { // a request that is given back twice would run twice
		for _, p := range g.pushes {
			s.tellCodec(p.body, fmt.Errorf("redisconn: request may be lost, not known to be given back: %w", err))
		}
		return failure{}, true
	}
	for i := range g.pushes {
		g.pushes[i].resent = true
	}
	return f, false
}

// arrived notes that a group was pushed.
func (s *sender) arrived(g *group) {
	s.sent.Add(1)
	s.state.Worked("answering")
	s.pusher.expiry.check(g)
	switch g.kind {
	case pushReply:
		if s.watch.isForeign(g.list) && s.pusher.letExpire(g) {
			s.watch.add(g)
		}
		s.ledger.arrived(g)
	case pushBack:
		s.givenBack.Add(int64(len(g.pushes)))
	case pushSettle:
		s.settler.settled(g.pushes...)
	}
}
