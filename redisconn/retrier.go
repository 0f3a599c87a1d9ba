package redisconn

import "slices"

// A retrier sends again what a lane could not send. Pushes that failed because of the node go
// together. A push that failed because of its list, or because of itself, goes alone. The retrier
// also sends all large answers, even the first time, so that they do not delay the lane.
//
// If an answer fails alone twice, the retrier sends its caller a notice in place of the answer.
// If the notice fails, too, Redis may refuse more than this list: the answer is dropped only if
// others have arrived meanwhile, and after maxStrikes.
type retrier struct {
	sender  *sender
	stalled *stalled
}

// maxStrikes is how often an answer fails alone before it is dropped, if its notice fails, too:
// in about a second.
const maxStrikes = 5

func newRetrier(s *sender) *retrier { return &retrier{sender: s, stalled: newStalled()} }

// failed keeps the pushes of a failure, to try them again. Unless the node is at fault, it parks
// answers: they may wait for long, while others are sent.
func (r *retrier) failed(f failure) {
	if f.fault != nodeFault {
		for i, p := range f.pushes {
			p.alone = true
			f.pushes[i] = r.sender.ledger.park(p)
		}
	}
	r.stalled.putFailed(f, r.sender.sent.Load())
}

// run sends what failed until the lane is closed and all is sent, or closeGrace is over. What is
// left stays in stalled.
func (r *retrier) run() {
	for {
		due, pause, done := r.stalled.due()
		switch {
		case done:
			return
		case len(due) == 0:
			r.stalled.wait(pause)
		default:
			r.try(due)
		}
	}
}

// try sends what is due: first, together, what failed only because of the node, then the other
// pushes one by one. It stops when the node fails.
func (r *retrier) try(due []stalledList) {
	before := r.sender.sent.Load()
	var together []push
	var alone []push
	for _, l := range due {
		if slices.ContainsFunc(l.pushes, func(p push) bool { return p.alone }) {
			alone = append(alone, l.pushes...)
		} else {
			together = append(together, l.pushes...)
		}
	}
	works := r.tryTogether(together)
	for i, p := range alone {
		if !works {
			r.stalled.putBack(alone[i:])
			break
		}
		works = r.tryAlone(p)
	}
	r.stalled.tried(due, works && r.sender.sent.Load() != before)
}

// tryTogether sends pushes together. It reports whether the node works.
func (r *retrier) tryTogether(pushes []push) (works bool) {
	works = true
	for _, f := range r.sender.send(pushes) {
		r.failed(f)
		works = works && f.fault != nodeFault
	}
	return works
}

// tryAlone sends one push, and reports whether the node works. If an answer fails alone for the
// second time, tryAlone sends a notice in its place.
func (r *retrier) tryAlone(p push) (works bool) {
	failed := r.sender.send([]push{p})
	if len(failed) == 0 {
		return true
	}
	f := failed[0]
	p = f.pushes[0]
	if f.fault == nodeFault {
		r.failed(f)
		return false
	}
	p.strikes++
	if p.kind != pushReply || p.strikes < 2 {
		r.strike(p)
		return true
	}
	if untold := r.sender.send([]push{noticeOf(p, f.err)}); len(untold) > 0 {
		return r.notTold(p, f.err, untold[0])
	}
	r.sender.ledger.replaced(p, f.err)
	return true
}

// notTold handles an answer that failed with err and whose notice failed as f. It reports whether
// the node works: if the notice failed, but Redis did not refuse it, the node is at fault.
func (r *retrier) notTold(p push, err error, f failure) (works bool) {
	switch {
	case f.fault != listFault:
		r.failed(failure{[]push{p}, nodeFault, f.err})
		return false
	case r.stalled.failedAt(p.list, r.sender.sent.Load()): // nothing else has arrived since
		r.sender.impaired("answering", err)
		r.strike(p)
	case p.strikes >= maxStrikes:
		r.sender.ledger.refuse(p, err)
	default:
		r.strike(p)
	}
	return true
}

// strike keeps a push that failed alone, to try it again later.
func (r *retrier) strike(p push) { r.failed(failure{pushes: []push{p}, fault: listFault}) }
