package redisconn

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

const (
	// maxSearched is how long a queue may be in which a request is searched: Redis does
	// nothing else meanwhile.
	maxSearched = 1000

	// inquiryMargin is how long before its deadline an inquiry returns.
	inquiryMargin = 200 * time.Millisecond

	// maxWithdrawn is how many requests are withdrawn at once.
	maxWithdrawn = 100
)

// A fate is what has become of a request.
type fate int

const (
	unknown fate = iota // it may still wait
	withdrawn
	taken // it is not in the queue: a server has taken it, or it never arrived
)

// unknownServers is the number of servers if it is not known.
const unknownServers = -1

// fates are what is known of requests, and of the queue.
type fates struct {
	of          []fate
	waiting     int64 // requests in the queue
	servers     int64 // that have announced themselves, or unknownServers
	withdrawErr error // why some requests could not be withdrawn
	err         error // why Redis could not be asked
}

// An inquirer finds out what has become of a client's requests, and withdraws them. Any
// goroutine may call inquire.
type inquirer struct {
	*broker
	pushing   chan struct{} // the outlet's
	clock     *clock        // the outlet's, protected by pushing
	asker     *link.Asker
	withdrawn atomic.Int64
}

func newInquirer(b *broker, pushing chan struct{}, c *clock) *inquirer {
	return &inquirer{broker: b, pushing: pushing, clock: c, asker: link.NewAsker()}
}

// inquire returns, for each request, an error that tells what has become of it.
func (q *inquirer) inquire(ctx context.Context, requests []*jsonrpc2.Request) []error {
	if deadline, ok := ctx.Deadline(); ok { // the codec no longer wants the answer after it
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, deadline.Add(-inquiryMargin))
		defer cancel()
	}
	var known *fates
	pushed, now, ok := q.pushedAmong(ctx, requests)
	if ok {
		known, _ = link.Ask(ctx, q.asker, func() *fates { return q.withdraw(pushed, now) })
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

// pushedAmong returns those of the requests that may have arrived. It has nil in place of the
// others, and in place of the items of a batch. It first waits for a push under way: a request
// that is not pushed by then is never pushed, since its caller has given up. now is the time by
// the broker's clock, 0 if that is not known. ok is false if ctx is done first.
func (q *inquirer) pushedAmong(ctx context.Context, requests []*jsonrpc2.Request) (pushed []*request, now int64, ok bool) {
	select {
	case q.pushing <- struct{}{}:
	case <-ctx.Done():
		return nil, 0, false
	}
	defer func() { <-q.pushing }()
	pushed = make([]*request, len(requests))
	for i, r := range requests {
		if own, ok := r.Handle.(*request); ok && own.pushed {
			pushed[i] = own
		}
	}
	return pushed, q.clock.now(), true
}

// withdraw removes requests from the queue if at most maxSearched wait there.
func (q *inquirer) withdraw(requests []*request, now int64) *fates {
	known := &fates{of: make([]fate, len(requests))}
	q.count(known, now)
	if known.err == nil && known.waiting <= maxSearched {
		q.remove(requests, known)
	}
	return known
}

// count notes how many requests wait and, if now is known, how many servers there are.
func (q *inquirer) count(known *fates, now int64) {
	var waiting, servers unrepeated
	pipe(q.rdb, func(pipeline redis.Pipeliner) {
		waiting = process(pipeline, "llen", q.queue)
		if now > 0 {
			servers = process(pipeline, countServers(q.queue, now)...)
		}
	})
	known.waiting, known.err = waiting.Int64()
	known.servers = unknownServers
	if now > 0 && servers.Err() == nil {
		known.servers, _ = servers.Int64()
	}
}

// remove removes requests, and notes their fates. It searches from the right, where the oldest
// wait. It needs no lock to read the requests: none is pushed again, see pushedAmong.
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
			known.withdrawErr = err
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
	if known.servers != unknownServers {
		queue += fmt.Sprintf(", servers that have announced themselves: %d", known.servers)
	}
	switch f {
	case withdrawn:
		return fmt.Errorf("%w: no server took it: it still waited and was withdrawn; %s", jsonrpc2.ErrNotRun, queue)
	case taken:
		return fmt.Errorf("it waits no more and may have run; %s", queue)
	}
	if known.withdrawErr != nil {
		return fmt.Errorf("it may still wait: %w; %s", known.withdrawErr, queue)
	}
	return fmt.Errorf("it may still wait; %s", queue)
}
