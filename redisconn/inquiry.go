package redisconn

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

const (
	// maxSearched is how many requests may wait for one to be withdrawn: Redis
	// does nothing else while it looks for it.
	maxSearched = 1000

	// inquiryMargin is how long it takes at most to tell what was found.
	inquiryMargin = 200 * time.Millisecond

	// maxWithdrawn is how many are withdrawn in one go.
	maxWithdrawn = 100
)

// A fate is what has become of a request.
type fate int

const (
	unknown fate = iota // it may still wait
	withdrawn
	taken
)

// fates are what is known of requests, and of the queue.
type fates struct {
	of      []fate
	waiting int64 // requests in the queue
	refused error // that they can't be withdrawn
	err     error // that Redis can't be asked
}

// An inquirer asks what has become of a client's requests, and withdraws them.
type inquirer struct {
	*broker
	pushing   chan struct{} // holds one while requests are pushed
	asker     *link.Asker
	withdrawn atomic.Int64
}

func newInquirer(b *broker, pushing chan struct{}) *inquirer {
	return &inquirer{broker: b, pushing: pushing, asker: link.NewAsker()}
}

// inquire tells what has become of requests, nil where nothing is known.
func (q *inquirer) inquire(ctx context.Context, requests []*jsonrpc2.Request) []error {
	if deadline, ok := ctx.Deadline(); ok { // what is not known by then is told in time, too
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-inquiryMargin))
		defer cancel()
	}
	var known *fates
	pushed, ok := q.pushedAmong(ctx, requests)
	if ok {
		known, _ = link.Ask(ctx, q.asker, func() *fates { return q.withdraw(pushed) })
	}
	outlook := q.outlook()
	found := make([]error, len(requests))
	for i, r := range requests {
		switch {
		case ok && r.Handle != nil && pushed[i] == nil:
			found[i] = fmt.Errorf("%w: it had not been sent to queue %q; %s", jsonrpc2.ErrNotRun, q.queue, outlook)
		case known != nil && known.err == nil:
			found[i] = fmt.Errorf("%w; %s", q.describe(known.of[i], known), outlook)
		case known != nil:
			found[i] = fmt.Errorf("queue %q can't be asked: %w; %s", q.queue, known.err, outlook)
		default:
			found[i] = fmt.Errorf("queue %q can't be asked; %s", q.queue, outlook)
		}
	}
	return found
}

// pushedAmong returns those of the requests that may have arrived, nil in the places
// of the others and of those that came within a batch. It waits for a push under way.
// What is not pushed then will not be: nobody waits for it.
func (q *inquirer) pushedAmong(ctx context.Context, requests []*jsonrpc2.Request) (pushed []*request, ok bool) {
	select {
	case q.pushing <- struct{}{}:
	case <-ctx.Done():
		return nil, false
	}
	defer func() { <-q.pushing }()
	pushed = make([]*request, len(requests))
	for i, r := range requests {
		if own, ok := r.Handle.(*request); ok && own.pushed {
			pushed[i] = own
		}
	}
	return pushed, true
}

// withdraw removes requests from the queue if few enough wait there.
func (q *inquirer) withdraw(requests []*request) *fates {
	known := &fates{of: make([]fate, len(requests))}
	var err error
	known.waiting, err = q.length()
	if err != nil {
		known.err = err
		return known
	}
	if known.waiting <= maxSearched {
		q.remove(requests, known)
	}
	return known
}

// remove removes requests, looking for them from the right, where the oldest
// wait, and notes their fates.
func (q *inquirer) remove(requests []*request, known *fates) {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	pipeline := q.rdb.Pipeline()
	cmds := make(map[int]unrepeated)
	for i, r := range requests {
		if r != nil && len(cmds) < maxWithdrawn {
			cmds[i] = newUnrepeated(ctx, "lrem", q.queue, -1, r.appendTo(nil))
			_ = pipeline.Process(ctx, cmds[i])
		}
	}
	if len(cmds) == 0 {
		return
	}
	_, _ = pipeline.Exec(ctx) // each command has its own error
	for i, cmd := range cmds {
		switch n, err := cmd.Int64(); {
		case err != nil:
			known.refused = err
		case n == 0:
			known.of[i] = taken
		default:
			known.of[i] = withdrawn
			known.waiting--
			q.withdrawn.Add(1)
		}
	}
}

// describe says what is known of a request that was sent.
func (q *inquirer) describe(f fate, known *fates) error {
	queue := fmt.Sprintf("requests waiting in queue %q: %d", q.queue, known.waiting)
	switch f {
	case withdrawn:
		return fmt.Errorf("%w: no server took it: it still waited and was withdrawn; %s", jsonrpc2.ErrNotRun, queue)
	case taken:
		return fmt.Errorf("it waits no more and may have run; %s", queue)
	}
	if known.refused != nil {
		return fmt.Errorf("it may still wait: %w; %s", known.refused, queue)
	}
	return fmt.Errorf("it may still wait; %s", queue)
}
