package redisconn

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/micromessaging/jsonrpc2/internal/link"
	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A lane sends to one node. It waits for no list: what fails is the retrier's.
type lane struct {
	*replier
	out     *link.Outbox[push]
	retrier *retrier
	sent    atomic.Int64 // groups that arrived, which shows that the node works
}

func newLane(r *replier) *lane {
	l := &lane{replier: r, out: link.NewOutbox[push](false)}
	l.retrier = newRetrier(l)
	l.out.Lone = func() bool { return r.places.Taken() <= l.out.Len() }
	return l
}

func (l *lane) start() {
	l.active.Go(l.run)
	l.active.Go(l.retrier.run)
}

// run sends what waits until the outbox is closed.
func (l *lane) run() {
	defer l.retrier.close()
	var spare []push
	for open := true; open; {
		<-l.out.Ready()
		var work []push
		work, open = l.out.Take(spare)
		spare = work
		for _, f := range l.send(l.retrier.hold(work)) {
			l.retrier.failed(f)
		}
		clear(spare) // what was sent is not kept alive
	}
}

// A failure is pushes that did not arrive, as far as is known.
type failure struct {
	pushes []push
	fault  fault
	err    error
}

// A fault says whose a failure is.
type fault int

const (
	nodeFault fault = iota // of the node, or of the way to it
	lostFault              // the connection broke: perhaps for what was pushed
	listFault              // the push was refused, others may not be
)

// faultOf tells whose fault an error is.
func faultOf(err error) fault {
	switch {
	case isRefusal(err, nodeRefusals...):
		return nodeFault
	case isRefusal(err, ""):
		return listFault
	case certainlyNotRun(err, false):
		return nodeFault
	}
	return lostFault
}

// nodeRefusals are how Redis begins its refusals of whatever is pushed.
var nodeRefusals = []string{
	"OOM", "MISCONF", "READONLY", "LOADING", "BUSY", "NOAUTH", "WRONGPASS", "MASTERDOWN", "CLUSTERDOWN", "NOREPLICAS",
	"UNBLOCKED",
}

// send sends all pushes and returns what failed.
func (l *lane) send(work []push) (failed []failure) {
	if len(work) == 0 {
		return nil
	}
	work, err := l.claim(work)
	if err != nil {
		l.impaired("answering", err)
		return []failure{{slices.Clone(work), nodeFault, err}}
	}
	groups := l.group(work)
	for i := 0; i < len(groups); {
		n := runOfSmall(groups[i:])
		l.push(groups[i : i+n])
		i += n
	}
	for _, g := range groups {
		if f, ok := l.settle(g); !ok {
			failed = append(failed, f)
		}
	}
	return failed
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

// push pushes groups: by script where that is called for, by its text where Redis
// has not seen it, without where Redis runs none.
func (l *lane) push(groups []*group) {
	if plain, scripted := l.split(groups); len(plain) > 0 {
		l.pushPlain(plain)
		groups = scripted
	}
	l.exec(groups, true)
	var unseen, refused []*group
	for _, g := range groups {
		if isRefusal(g.cmd.Err(), "NOSCRIPT") {
			unseen = append(unseen, g)
		}
	}
	l.exec(unseen, false)
	for _, g := range groups {
		if err := g.cmd.Err(); l.canBePlain(g) && faultOf(err) == listFault && !isListsFault(err) {
			refused = append(refused, g)
		}
	}
	if len(refused) > 0 {
		l.pushPlain(refused)
		l.noteScripts(refused)
	}
}

// exec sends a command for each group, all in one go.
func (l *lane) exec(groups []*group, bySHA bool) {
	if len(groups) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	pipeline := l.rdb.Pipeline()
	for _, g := range groups {
		g.cmd = newOnce(context.Background(), l.command(g, bySHA)...)
		_ = pipeline.Process(ctx, g.cmd)
		if g.expires {
			g.expire = l.expireCmd(g.list)
			_ = pipeline.Process(ctx, g.expire)
		}
	}
	_, _ = pipeline.Exec(ctx) // each command has its own error
}

// settle sees to what became of a group. It is false if that failed and may be
// tried again.
func (l *lane) settle(g *group) (failure, bool) {
	err := g.cmd.Err()
	if g.kind == pushWake && !certainlyNotRun(err, false) {
		l.woke.Store(true)
	}
	switch {
	case err == nil:
		l.arrived(g)
		return failure{}, true
	case g.kind == pushReply && isListsFault(err): // and it stays so
		for _, p := range g.pushes {
			l.refuse(p, err)
		}
		return failure{}, true
	case g.kind == pushWake && !l.popping.Load(): // by itself, meanwhile
		return failure{}, true
	}
	f := failure{g.pushes, faultOf(err), err}
	if f.fault == nodeFault || f.fault == lostFault && !g.pushes[0].alone {
		l.impaired("answering", err)
	}
	if certainlyNotRun(err, false) {
		return f, false
	}
	if g.kind == pushBack { // given back twice, it would run twice
		for _, p := range g.pushes {
			l.lost(p.body, fmt.Errorf("redisconn: request may be lost, not known to be given back: %w", err))
		}
		return failure{}, true
	}
	for i := range g.pushes {
		g.pushes[i].again = true
	}
	return f, false
}

// arrived notes that a group was pushed.
func (l *lane) arrived(g *group) {
	l.sent.Add(1)
	l.state.Worked("answering")
	l.noteExpiry(g)
	switch g.kind {
	case pushReply:
		if l.isForeign(g.list) && l.letExpire(g) {
			l.watch.add(g)
		}
		l.answered(g)
	case pushBack:
		l.givenBack.Add(int64(len(g.pushes)))
	case pushSettle:
		l.settler.settled(g.pushes...)
	}
}

// letExpire reports whether a group's push let its list expire.
func (l *lane) letExpire(g *group) bool {
	switch {
	case g.expire.Cmd != nil:
		return g.expire.Err() == nil
	case l.byScript:
		_, expires := hold.Lost(g.cmd.Val())
		return expires
	}
	set, _ := g.cmd.Int64()
	return set == 1
}

// answered notes that the answers of a group are there, but for those to requests
// that had been taken over.
func (l *lane) answered(g *group) {
	var lost map[int]bool
	if l.byScript {
		lost, _ = hold.Lost(g.cmd.Val())
		l.settler.settled(g.pushes...)
	}
	answers, places := 0, 0
	for i, p := range g.pushes {
		if lost[i] && !p.again { // else it was settled the time before
			l.lose(p)
			continue
		}
		if !l.byScript {
			l.settleRequest(p.held) // it is claimed
		}
		if !p.notice {
			answers++
		}
		if p.parked > 0 {
			l.free(p)
		} else {
			places++
		}
	}
	l.replies.Add(int64(answers))
	l.places.Free(places)
}

// claim settles the requests of answers, where the push doesn't. It returns the
// pushes less the answers to requests that had been taken over, or all of them and
// an error.
func (l *lane) claim(work []push) (claimed []push, err error) {
	if l.byScript || !slices.ContainsFunc(work, push.mustClaim) {
		return work, nil
	}
	var answers []push
	for _, p := range work {
		if p.mustClaim() {
			answers = append(answers, p)
		}
	}
	lost, err := l.settler.claim(answers)
	if err != nil {
		return work, err
	}
	claimed = work[:0]
	n := 0
	for _, p := range work {
		if p.mustClaim() {
			p.claimed = true
			n++
			if lost[n-1] {
				l.lose(p)
				continue
			}
		}
		claimed = append(claimed, p)
	}
	return claimed, nil
}
