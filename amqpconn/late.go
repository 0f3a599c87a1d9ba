package amqpconn

import "time"

// A lateLane publishes answers again whose queue did not exist: some clients declare the
// queue, which is named by the request's id, only after they have published the request.
// The requests of these answers are acknowledged.
type lateLane struct{ lane }

const (
	latePatience = 10 * time.Second // how long an answer waits for its queue

	// The time between two tries doubles from min to max.
	minLateDelay = 5 * time.Millisecond
	maxLateDelay = time.Second

	// maxLates and maxLateBytes bound the answers that wait for their queues: strangers
	// may name queues that never come.
	maxLates     = 256
	maxLateBytes = 16 << 20
)

func newLateLane(d *dialer, s *settler) *lateLane {
	l := &lateLane{}
	l.init(d, s)
	l.send = l.sendAll
	l.abandon = l.giveUp
	return l
}

// add hands over an answer that came back. The caller acknowledges its request.
func (l *lateLane) add(r reply) {
	r.acknowledged = true
	now := time.Now()
	r.late = lateness{next: now, delay: minLateDelay, until: now.Add(latePatience)}
	if l.put(r) != nil {
		l.giveUp([]reply{r})
	}
}

// sendAll publishes the answers whose turn it is, and returns those that still
// wait.
func (l *lateLane) sendAll(work []reply) (again []reply) {
	work = l.bounded(work)
	now := time.Now()
	var due []reply
	for _, r := range work {
		if now.Before(r.late.next) {
			again = append(again, r)
		} else {
			due = append(due, r)
		}
	}
	if len(due) == 0 {
		return again
	}
	fates := make([]fate[reply], 0, len(due))
	if s, err := l.open(); err == nil {
		fates = l.publish(s, due, true)
	} else {
		for _, r := range due {
			fates = append(fates, fate[reply]{r, errUnconfirmed})
		}
	}
	for _, f := range fates {
		r := f.item
		switch {
		case f.err == nil:
			l.count(r)
		case f.err == errRefused || l.ctx.Err() != nil || time.Now().After(r.late.until):
			l.giveUp([]reply{r})
		default:
			r.late.next = time.Now().Add(r.late.delay)
			r.late.delay = min(2*r.late.delay, maxLateDelay)
			again = append(again, r)
		}
	}
	return again
}

// bounded drops answers if there are too many, from the beginning of work: new ones are at
// the end.
func (l *lateLane) bounded(work []reply) []reply {
	bytes := 0
	for i := len(work) - 1; i >= 0; i-- {
		bytes += len(work[i].body)
		if len(work)-i > maxLates || bytes > maxLateBytes {
			l.giveUp(work[:i+1])
			return work[i+1:]
		}
	}
	return work
}

// giveUp drops answers whose queue has not come.
func (l *lateLane) giveUp(work []reply) {
	for _, r := range work {
		l.settler.undeliverable(r.queue, r.body, errReturned)
	}
}
