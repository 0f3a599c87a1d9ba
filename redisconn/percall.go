package redisconn

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// A perCall takes answers from one list for each call, on one connection. It blocks on all
// lists at once. When one has an answer, it also pops from all the others. A new call ends
// the blocked pop by a value on the client's own list, so that the next pop includes its list.
//
// On a Cluster the lists lie in many slots, and Redis refuses to block on all of them. Then
// perCall polls: it pops from each list now and then, while calls wait.
type perCall struct {
	*replyList
	added   chan struct{} // receives if there may be a new call
	polls   bool          // the fetcher's own: Redis refuses to block on the lists
	missing error         // for a call that the answer on its list does not answer

	mu      sync.Mutex                   // protects following
	calls   map[string]*jsonrpc2.Request // by their lists: those whose answers were not taken
	blocked bool                         // the fetcher blocks in a pop, or is about to
}

const (
	minPoll = 2 * time.Millisecond  // the first pause between two polls
	maxPoll = 50 * time.Millisecond // the pause at which wait gives up
)

func newPerCall(own *replyList) *perCall {
	return &perCall{
		replyList: own,
		added:     make(chan struct{}, 1),
		missing:   fmt.Errorf("%w: queue %q: what came on the call's own reply list does not answer it", jsonrpc2.ErrBadReply, own.queue),
		calls:     make(map[string]*jsonrpc2.Request),
	}
}

// add adds a request. The fetcher looks for its answer until the answer is there or the caller
// has given up.
func (p *perCall) add(r *request) {
	p.mu.Lock()
	p.calls[r.list] = r.Request
	p.mu.Unlock()
	link.Signal(p.added)
}

// isBlocked reports whether the push of a new call has to wake the fetcher.
func (p *perCall) isBlocked() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.blocked
}

func (p *perCall) unblocked() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.blocked = false
}

// lists returns the lists of the calls that still wait, and forgets the others. If there are
// some, it notes that the fetcher is about to block. add and lists lock the same mutex, so a
// call is in the result, or its push finds blocked set.
func (p *perCall) lists() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lists := make([]string, 0, len(p.calls)+1) // take adds our own
	for list, r := range p.calls {
		if r.GivenUp() {
			delete(p.calls, list)
			continue
		}
		lists = append(lists, list)
	}
	p.blocked = len(lists) > 0 && !p.polls
	return lists
}

// answered returns the request whose answer was taken from a list. From then on no answer is
// taken from that list.
func (p *perCall) answered(list string) *jsonrpc2.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.calls[list]
	delete(p.calls, list)
	return r
}

// fetch takes answers while calls wait, until the ClientConn is closed.
func (p *perCall) fetch() {
	var backoff link.Backoff
	for !p.inbox.isClosed() {
		lists := p.lists()
		if len(lists) == 0 {
			select {
			case <-p.added:
			case <-p.inbox.closed:
			}
			continue
		}
		taken, err := p.take(lists)
		p.unblocked()
		if err != nil {
			p.impaired("taking answers", err)
			link.Wait(backoff.Next(), p.inbox.closed)
			continue
		}
		p.worked("taking answers")
		backoff.Reset()
		p.inbox.hand(taken)
	}
}

// take waits for answers and takes all that are there.
func (p *perCall) take(lists []string) (taken answers, err error) {
	if p.polls {
		return p.wait(lists)
	}
	list, values, err := p.popper.pop(1, append(lists, p.name)...)
	if isRefusal(err, "CROSSSLOT") {
		p.polls = true
		return taken, nil
	}
	if err != nil || len(values) == 0 || list == p.name {
		return taken, err
	}
	taken = answers{bodies: values, requests: []*jsonrpc2.Request{p.answered(list)}, missing: p.missing}
	_ = p.takeAll(&taken, lists) // the next pop returns the error
	return taken, nil
}

// takeAll adds the answers that are there to taken, without waiting.
func (p *perCall) takeAll(taken *answers, lists []string) (err error) {
	ctx := context.Background()
	pipeline := p.rdb.Pipeline()
	cmds := make([]unrepeated, len(lists))
	for i, list := range lists {
		cmds[i] = process(pipeline, "lpop", list)
	}
	_, _ = pipeline.Exec(ctx)
	for i, cmd := range cmds {
		value, popErr := cmd.Text()
		switch {
		case popErr == nil:
			taken.bodies = append(taken.bodies, value)
			taken.requests = append(taken.requests, p.answered(lists[i]))
		case popErr != redis.Nil:
			err = popErr
		}
	}
	return err
}

// wait pops from all lists, with growing pauses, until one has an answer. It gives up when the
// pause would be maxPoll, so that fetch adds the lists of new calls.
func (p *perCall) wait(lists []string) (taken answers, err error) {
	taken.missing = p.missing
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		err = p.takeAll(&taken, lists)
		if len(taken.bodies) > 0 {
			return taken, nil
		}
		if err != nil || pause == maxPoll {
			return taken, err
		}
		link.Wait(pause, p.inbox.closed)
	}
}
