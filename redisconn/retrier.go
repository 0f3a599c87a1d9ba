package redisconn

import "slices"

// A retrier sends again what a lane could not send. What failed for its list goes
// alone. Large messages it sends at first, too, so that the lane is not held up by
// them.
//
// An answer that fails alone while others arrive is given up, and its caller is
// told.
type retrier struct {
	sender  *sender
	stalled *stalled
}

// maxStrikes is how often an answer fails alone, while others arrive, before it is
// given up: in about a second.
const maxStrikes = 5

func newRetrier(s *sender) *retrier { return &retrier{sender: s, stalled: newStalled()} }

// failed keeps what failed, to be tried again.
func (r *retrier) failed(f failure) {
	if f.fault != nodeFault {
		for i, p := range f.pushes {
			p.alone = true
			f.pushes[i] = r.sender.ledger.park(p)
		}
	}
	r.stalled.putFailed(f, r.sender.sent.Load())
}

// run sends what failed until the lane is closed and all is sent, or closeGrace is
// over.
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

// try sends what is due: together what failed for the node alone, then one by one
// what failed otherwise. It stops when the node fails.
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

// tryTogether is false if the node failed.
func (r *retrier) tryTogether(pushes []push) (works bool) {
	works = true
	for _, f := range r.sender.send(pushes) {
		r.failed(f)
		works = works && f.fault != nodeFault
	}
	return works
}

// tryAlone sends one push. What fails so a second time is replaced by word to its
// caller. It is false if the node failed.
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

// notTold sees to an answer whose caller can't be told either that it can't be
// delivered. It is false if the node failed, as it did if it took not even that.
func (r *retrier) notTold(p push, err error, f failure) (works bool) {
	switch {
	case f.fault != listFault:
		r.failed(failure{[]push{p}, nodeFault, f.err})
		return false
	case r.stalled.failedAt(p.list, r.sender.sent.Load()): // no others arrive
		r.sender.impaired("answering", err)
		r.strike(p)
	case p.strikes >= maxStrikes:
		r.sender.ledger.refuse(p, err)
	default:
		r.strike(p)
	}
	return true
}

// strike has a push that failed alone wait.
func (r *retrier) strike(p push) { r.failed(failure{pushes: []push{p}, fault: listFault}) }
