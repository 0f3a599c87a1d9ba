package redisconn

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2/redisconn/internal/hold"
)

// A ledger keeps account of a server's answers until they are sent or dropped. An answer has
// its request's place, or it is parked: then it has given the place back, and its bytes count
// towards maxParked. The ledger also settles the requests of answers. Any goroutine may call its
// methods.
type ledger struct {
	*shared
	settler       settler
	settleRequest func(*hold.Request) // the replier's: settles without an answer
	parked        atomic.Int64        // bytes of the parked answers
	parkedAnswers atomic.Int64        // how many these are
}

// maxParked is how many bytes the parked answers may have.
const maxParked = 16 << 20

// claim settles the requests of answers before the answers are pushed, unless the script that
// pushes them does so. It drops the answers to requests that were taken over, and returns the
// other pushes. With an error it returns all pushes.
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
	notHeld, err := l.settler.claim(answers)
	if err != nil {
		return work, err
	}
	claimed = work[:0]
	n := 0
	for _, p := range work {
		if p.mustClaim() {
			p.claimed = true
			n++
			if notHeld[n-1] {
				l.dropNotHeld(p)
				continue
			}
		}
		claimed = append(claimed, p)
	}
	return claimed, nil
}

// inTime drops the answers whose time is over, and returns the other pushes.
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

// arrived notes that a group was pushed. The script has not pushed the answers to requests that
// were taken over: arrived drops them.
func (l *ledger) arrived(g *group) {
	var notHeld map[int]bool
	if g.settles {
		notHeld, _ = hold.NotHeld(g.cmd.Val())
		l.settler.settled(g.pushes...)
	}
	answers, places := 0, 0
	for i, p := range g.pushes {
		if notHeld[i] && !p.resent { // the first push of a resent one may have settled the request
			l.dropNotHeld(p)
			continue
		}
		if !g.settles {
			l.settleRequest(p.held) // after a claim; nothing with AtMostOnce
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

// dropNotHeld drops the answer to a request that another server has taken over.
func (l *ledger) dropNotHeld(p push) {
	if !p.notice {
		l.leaseLost.Add(1)
	}
	l.settler.settled(p)
	p.held = nil
	l.drop(p, errLeaseLost)
}

// expire drops an answer whose time is over.
func (l *ledger) expire(p push) {
	if !p.notice {
		l.expired.Add(1)
	}
	l.drop(p, fmt.Errorf("redisconn: answer to %q not delivered within %v", p.list, l.opts.ReplyTTL))
}

// refuse drops an answer or a notice that its list, or Redis, refuses.
func (l *ledger) refuse(p push, err error) {
	if !p.notice {
		l.undelivered.Add(1)
	}
	l.drop(p, fmt.Errorf("redisconn: answer to %q: %w", p.list, err))
}

// replaced notes that a notice has ended, which stood in place of an answer: it arrived or was
// dropped. The notice had the answer's place, which is free by now.
func (l *ledger) replaced(p push, err error) {
	l.undelivered.Add(1)
	l.tellCodec(p.body, undeliverable(p, err))
}

// drop drops an answer: it tells the codec, frees the place or the memory, and settles the
// request. A notice is neither told nor counted: replaced does so, once, for the answer.
func (l *ledger) drop(p push, why error) {
	if !p.notice {
		l.tellCodec(p.body, why)
	}
	l.free(p)
	l.settleRequest(p.held)
}

// park parks an answer if the bytes of the parked ones do not exceed maxParked then. It returns
// the answer as it is now. If all answers kept their places, those to one list that fails would
// soon have all places, and the server would take no more requests.
func (l *ledger) park(p push) push {
	size := len(p.body)
	if p.kind != pushReply || p.parked > 0 || l.parked.Load()+int64(size) > maxParked {
		return p
	}
	l.parked.Add(int64(size))
	l.parkedAnswers.Add(1)
	p.parked = size
	l.places.Free(1)
	return p
}

// mayPark reports whether one more answer to the only node may be parked before it is sent: as
// many answers as there are places. So the next answers are made while these are sent. There is
// a limit because the server has to stop where Redis gives requests and refuses answers.
func (l *ledger) mayPark() bool { return l.parkedAnswers.Load() < int64(l.opts.Prefetch) }

// free frees the place or, if it is parked, the memory of an answer that is sent or dropped.
func (l *ledger) free(p push) {
	if p.parked > 0 {
		l.parked.Add(-int64(p.parked))
		l.parkedAnswers.Add(-1)
	} else {
		l.places.Free(1)
	}
}
