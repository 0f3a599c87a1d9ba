package redisconn

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A ledger keeps account of a server's answers until they are sent or given up:
// of the place or the memory that each holds, and of the request that it settles.
type ledger struct {
	*shared
	settler       settler
	settleRequest func(*hold.Request) // without an answer; the replier's
	parked        atomic.Int64        // bytes of those that hold no place
}

// maxParked is how many bytes of answers may wait for their lists without
// holding a place.
const maxParked = 16 << 20

// claim settles the requests of answers, where the push doesn't. It returns the
// pushes less the answers to requests that had been taken over, or all of them and
// an error.
func (l *ledger) claim(work []push) (claimed []push, err error) {
	if l.settler.byScript() || !slices.ContainsFunc(work, push.mustClaim) {
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

// inTime gives up the answers that took too long, and returns the other pushes.
func (l *ledger) inTime(work []push) []push {
	now := time.Now()
	return slices.DeleteFunc(work, func(p push) bool {
		expired := p.kind == pushReply && now.After(p.until)
		if expired {
			l.expire(p)
		}
		return expired
	})
}

// arrived notes that the answers of a group are there, but for those to requests
// that had been taken over.
func (l *ledger) arrived(g *group) {
	var lost map[int]bool
	if g.settles {
		lost, _ = hold.Lost(g.cmd.Val())
		l.settler.settled(g.pushes...)
	}
	answers, places := 0, 0
	for i, p := range g.pushes {
		if lost[i] && !p.again { // else it was settled the time before
			l.lose(p)
			continue
		}
		if !g.settles {
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

var errLeaseLost = errors.New("redisconn: answer dropped: the lease ran out, another server has the request")

// lose gives up the answer to a request that is no longer ours.
func (l *ledger) lose(p push) {
	l.leaseLost.Add(1)
	l.settler.settled(p)
	p.held = nil
	l.drop(p, errLeaseLost)
}

// expire gives up an answer that took too long.
func (l *ledger) expire(p push) {
	l.expired.Add(1)
	l.drop(p, fmt.Errorf("redisconn: answer to %q not delivered within %v", p.list, l.opts.ReplyTTL))
}

// refuse gives up an answer that its list, or the broker, won't take.
func (l *ledger) refuse(p push, err error) {
	if !p.notice { // else it was counted before
		l.undelivered.Add(1)
	}
	l.drop(p, fmt.Errorf("redisconn: answer to %q: %w", p.list, err))
}

// replaced notes that a notice was sent in place of an answer. What the answer held
// is the notice's.
func (l *ledger) replaced(p push, err error) {
	l.undelivered.Add(1)
	l.lost(p.body, undeliverable(p, err))
}

// drop gives up an answer.
func (l *ledger) drop(p push, why error) {
	l.lost(p.body, why)
	l.free(p)
	l.settleRequest(p.held)
}

// park frees the place of an answer that waits for its list alone, if there is
// room: else the answers to one list would stop the server.
func (l *ledger) park(p push) push {
	size := len(p.body)
	if p.kind != pushReply || p.parked > 0 || l.parked.Load()+int64(size) > maxParked {
		return p
	}
	l.parked.Add(int64(size))
	p.parked = size
	l.places.Free(1)
	return p
}

// free frees what an answer that is sent or given up holds.
func (l *ledger) free(p push) {
	if p.parked > 0 {
		l.parked.Add(-int64(p.parked))
	} else {
		l.places.Free(1)
	}
}
