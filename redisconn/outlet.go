package redisconn

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/link"
)

// An outlet pushes the requests of a client onto its queue. Its one goroutine, the sender, runs
// run. Callers use Put, and the inquirer what pushing protects.
type outlet struct {
	*broker
	*link.Requests[*request]

	// pushing is a lock that an inquiry can wait for until its context is done: it has a
	// value while it is locked. The sender holds it while it pushes. It protects the clock,
	// and the fields of each request that say so.
	pushing  chan struct{}
	wakes    func() bool  // reports whether the next push has to end a blocked pop; nil: none has
	wakeList string       // of the pop
	count    atomic.Int64 // of the requests that were pushed

	// The sender's own; an inquiry may read the clock, too.
	clock   *clock
	lookout *lookout // nil: no server is required
	backlog backlog
	buf     []byte // a request as it is sent
}

func newOutlet(b *broker, opts DialOptions) *outlet {
	o := &outlet{
		broker:   b,
		Requests: link.NewRequests[*request](jsonrpc2.ErrOverloaded),
		pushing:  make(chan struct{}, 1),
		backlog:  backlog{limit: int64(opts.MaxBacklog), ask: b.length},
	}
	o.clock = newClock(b)
	if opts.RequireServer {
		o.lookout = newLookout(b, o.clock)
	}
	return o
}

// run sends requests until the outlet is closed and all is sent, or closeGrace is over. Then it
// fails those that are left.
func (o *outlet) run() {
	o.failLeft(o.Run(link.Writer[*request]{Send: o.push, MaxPause: sendPatience / 4, Grace: closeGrace}))
}

// push pushes the requests that are still wanted, and returns those to try again. It fails all
// if RequireServer is set and there is no server, and those that MaxBacklog leaves no room for.
func (o *outlet) push(work []*request) (again []*request) {
	o.pushing <- struct{}{}
	defer func() { <-o.pushing }()
	work = o.Wanted(work)
	if err := o.ask(work); err != nil {
		o.impaired("sending requests", err)
		return o.refused(work, err)
	}
	if len(work) > 0 && o.lookout != nil && o.lookout.seesNobody() {
		o.FailUnsent(o.failure(jsonrpc2.ErrNoServer, errNobody), work...)
		return nil
	}
	work = o.admitted(work)
	for len(work) > 0 {
		n := sentTogether(work)
		again = append(again, o.pushTogether(work[:n])...)
		work = work[n:]
	}
	return again
}

// sentTogether returns how many requests go in one command: all before the next large one, or
// the large one alone. Redis may refuse a large request, and with it the whole command.
func sentTogether(work []*request) int {
	n := 0
	for n < len(work) && len(work[n].Body) <= largeMessage {
		n++
	}
	return max(n, 1)
}

// pushTogether pushes requests in one command, and returns those to try again.
func (o *outlet) pushTogether(work []*request) (again []*request) {
	err := o.exec(work)
	if o.refusesLarge(work, err) { // try once more: perhaps only the connection broke
		if err = o.exec(work); o.refusesLarge(work, err) {
			o.failUnsent(work[:1], fmt.Errorf("it has %d bytes: %w", len(work[0].Body), o.explain(err)))
			return nil
		}
	}
	switch {
	case err == nil:
		o.worked("sending requests")
		o.sent(work)
	case certainlyNotRun(err, true):
		o.impaired("sending requests", err)
		return o.refused(work, err)
	default:
		o.impaired("sending requests", err)
		o.unconfirmed(work, err)
	}
	return nil
}

// refusesLarge reports whether Redis did not take a large request, but answers another command.
// Then the request probably exceeds a limit of Redis.
func (o *outlet) refusesLarge(work []*request, err error) bool {
	if len(work[0].Body) <= largeMessage || err == nil || !certainlyNotRun(err, true) || faultOf(err) == nodeFault {
		return false
	}
	_, err = o.length()
	return err == nil || isRefusal(err, "")
}

// ask asks Redis for its time and the depth of the queue, if work needs them and they are
// too old.
func (o *outlet) ask(work []*request) error {
	if len(work) == 0 {
		return nil
	}
	if slices.ContainsFunc(work, (*request).hasDeadline) {
		if err := o.clock.refresh(); err != nil {
			return err
		}
	}
	return o.backlog.refresh()
}

// admitted returns the requests that the queue has room for, and fails the others.
func (o *outlet) admitted(work []*request) []*request {
	n := o.backlog.admit(len(work))
	if n == len(work) {
		return work
	}
	return o.Admitted(work, n, fmt.Errorf("%w: requests waiting in queue %q: %d", jsonrpc2.ErrOverloaded, o.queue, o.backlog.depth+int64(n)))
}

// exec pushes requests in one command. In the same round trip it does what is due: it wakes the
// fetcher, and checks the clock. Its result also tells the depth of the queue.
func (o *outlet) exec(work []*request) error {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	wakes, asks := o.wakes != nil && o.wakes(), o.clock.isStale() && !o.clock.refusesTime
	push := newUnrepeated(ctx, o.pushArgs(work)...)
	if !wakes && !asks {
		_ = o.rdb.Process(ctx, push)
	} else {
		o.execBeside(ctx, push, wakes, asks)
	}
	o.buf = keep(o.buf)
	depth, err := push.Int64()
	o.backlog.set(depth, err)
	return err
}

// execBeside wakes the fetcher if wakes is set, asks for the time if asks is set, and pushes
// requests, in one pipeline.
func (o *outlet) execBeside(ctx context.Context, push unrepeated, wakes, asks bool) {
	pipeline := o.rdb.Pipeline()
	if wakes {
		addWake(pipeline, o.wakeList)
	}
	var clock unrepeated
	if asks {
		clock = newUnrepeated(ctx, timeCommands(o.rdb, o.queue)[0]...)
		_ = pipeline.Process(ctx, clock)
	}
	_ = pipeline.Process(ctx, push)
	begin := time.Now()
	_, _ = pipeline.Exec(ctx) // each command has its own error
	if !asks {
		return
	}
	roundTrip := time.Since(begin)
	switch t, err := timeOf(clock); {
	case err == nil && !t.IsZero():
		o.clock.check(reading{broker: t, local: begin.Add(roundTrip / 2), roundTrip: roundTrip})
	case isRefused(err):
		o.clock.refusesTime = true
	}
}

// pushArgs returns the command that pushes all requests. Each argument marshals itself into
// o.buf when go-redis writes it.
func (o *outlet) pushArgs(work []*request) []any {
	args := append(make([]any, 0, len(work)+2), "lpush", o.queue)
	for _, r := range work {
		r.pushed = true // unless the result says that it certainly was not
		r.setDeadline(o.clock)
		r.buf = &o.buf
		args = append(args, r)
	}
	return args
}

// refused handles requests that certainly were not pushed. It returns those to try again, and
// fails those that were tried for sendPatience.
func (o *outlet) refused(work []*request, err error) (again []*request) {
	for _, r := range work {
		r.pushed = false
	}
	return o.Refused(work, func() error { return o.failure(jsonrpc2.ErrUnavailable, o.explain(err)) })
}

// failLeft fails the requests that are left when the ClientConn is closed.
func (o *outlet) failLeft(work []*request) {
	o.pushing <- struct{}{}
	defer func() { <-o.pushing }()
	o.failUnsent(o.Wanted(work), fmt.Errorf("closed meanwhile: %w", o.closeCause()))
}

// failUnsent fails requests that certainly were not pushed.
func (o *outlet) failUnsent(work []*request, err error) {
	for _, r := range work {
		r.pushed = false
	}
	o.FailUnsent(o.failure(jsonrpc2.ErrUnavailable, err), work...)
}

// sent notes that requests have arrived, and tells their callers.
func (o *outlet) sent(work []*request) {
	o.count.Add(int64(len(work)))
	o.done(work)
	for _, r := range work {
		r.Sent()
	}
}

// unconfirmed notes that requests may have arrived: calls wait for their answers,
// notifications end.
func (o *outlet) unconfirmed(work []*request, err error) {
	o.done(work)
	err = o.failure(jsonrpc2.ErrUnconfirmed, o.explain(err))
	for _, r := range work {
		r.Fail(err)
	}
}

// done makes room in the outlet for others.
func (o *outlet) done(work []*request) {
	bytes := 0
	for _, r := range work {
		bytes += len(r.Body)
	}
	o.Done(bytes)
}
