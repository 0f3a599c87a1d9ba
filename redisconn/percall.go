package redisconn

import (
	"context"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// perCall takes answers from a list for each call, on one connection: it blocks
// on all of them at once, and whenever one has an answer asks all others, too.
// A new call ends the block by a value on the caller's own list.
//
// On a Cluster the lists lie in many slots, where a block on all of them is
// refused; they are then asked every now and then, while calls wait.
type perCall struct {
	caller *caller
	added  chan struct{} // holds one if there may be a new call
	poll   bool

	mu      sync.Mutex // protects following
	calls   map[string]context.Context
	blocked bool // the fetcher is, or is about to be
}

const (
	minPoll = 2 * time.Millisecond
	maxPoll = 50 * time.Millisecond
)

func newPerCall(c *caller) *perCall {
	return &perCall{caller: c, added: make(chan struct{}, 1), calls: make(map[string]context.Context)}
}

// add has answers taken from the list, until there is one or ctx is done.
func (p *perCall) add(ctx context.Context, list string) {
	p.mu.Lock()
	p.calls[list] = ctx
	p.mu.Unlock()
	link.Signal(p.added)
}

// isBlocked reports whether the fetcher has to be woken to see a new call.
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

// lists returns the lists of the calls that somebody waits for.
func (p *perCall) lists() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var lists []string
	for list, ctx := range p.calls {
		if ctx.Err() != nil {
			delete(p.calls, list)
			continue
		}
		lists = append(lists, list)
	}
	p.blocked = len(lists) > 0 && !p.poll
	return lists
}

func (p *perCall) answered(list string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.calls, list)
}

func (p *perCall) fetch() {
	c := p.caller
	var backoff link.Backoff
	for !c.isClosed() {
		lists := p.lists()
		if len(lists) == 0 {
			select {
			case <-p.added:
			case <-c.closed:
			}
			continue
		}
		values, err := p.take(lists)
		p.unblocked()
		if err != nil {
			impaired(c.state, c.rdb, "taking answers", err)
			link.Wait(backoff.Next(), c.closed)
			continue
		}
		c.state.Worked("taking answers")
		backoff.Reset()
		c.hand(values)
	}
}

// take waits for answers and takes all that are there.
func (p *perCall) take(lists []string) ([]string, error) {
	if p.poll {
		return p.wait(lists)
	}
	list, values, err := p.caller.popper.pop(1, append(lists, p.caller.list)...)
	if isRefusal(err, "CROSSSLOT") {
		p.poll = true
		return nil, nil
	}
	if err != nil || len(values) == 0 || list == p.caller.list {
		return nil, err
	}
	p.answered(list)
	more, _ := p.takeAll(lists) // what is wrong will be so the next time
	return append(values, more...), nil
}

// takeAll takes the answers that are there, without waiting.
func (p *perCall) takeAll(lists []string) (values []string, err error) {
	ctx := context.Background()
	pipeline := p.caller.rdb.Pipeline()
	cmds := make([]once, len(lists))
	for i, list := range lists {
		cmds[i] = newOnce(ctx, "lpop", list)
		_ = pipeline.Process(ctx, cmds[i])
	}
	_, _ = pipeline.Exec(ctx)
	for i, cmd := range cmds {
		value, popErr := cmd.Text()
		switch {
		case popErr == nil:
			p.answered(lists[i])
			values = append(values, value)
		case popErr != redis.Nil:
			err = popErr
		}
	}
	if len(values) > 0 {
		err = nil
	}
	return values, err
}

// wait asks all lists until one has an answer, less and less often.
func (p *perCall) wait(lists []string) ([]string, error) {
	for pause := minPoll; ; pause = min(2*pause, maxPoll) {
		values, err := p.takeAll(lists)
		if err != nil || len(values) > 0 || pause == maxPoll {
			return values, err
		}
		link.Wait(pause, p.caller.closed)
	}
}
