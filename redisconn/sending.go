package redisconn

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// push pushes requests, and returns those to try again.
func (c *caller) push(work []*request) (again []*request) {
	c.pushing <- struct{}{}
	defer func() { <-c.pushing }()
	work = c.wanted(work)
	if err := c.ask(work); err != nil {
		impaired(c.state, c.rdb, "sending requests", err)
		return c.refused(work, err)
	}
	work = c.admitted(work)
	for len(work) > 0 {
		n := sentTogether(work)
		again = append(again, c.pushTogether(work[:n])...)
		work = work[n:]
	}
	return again
}

// sentTogether returns how many requests go in one command: those up to the next
// large one, or that alone. The broker may refuse it, and what goes with it.
func sentTogether(work []*request) int {
	n := 0
	for n < len(work) && len(work[n].body) <= largeMessage {
		n++
	}
	return max(n, 1)
}

// pushTogether pushes requests in one command, and returns those to try again.
func (c *caller) pushTogether(work []*request) (again []*request) {
	err := c.exec(work)
	if c.refusesLarge(work, err) { // or it was the connection
		if err = c.exec(work); c.refusesLarge(work, err) {
			c.failUnsent(work[0], fmt.Errorf("it has %d bytes: %w", len(work[0].body), err))
			return nil
		}
	}
	switch {
	case err == nil:
		c.state.Worked("sending requests")
		c.requests.Add(int64(len(work)))
	case certainlyNotRun(err, true):
		impaired(c.state, c.rdb, "sending requests", err)
		return c.refused(work, err)
	default: // it may have arrived: the calls wait for their answers
		impaired(c.state, c.rdb, "sending requests", err)
	}
	c.done(work)
	return nil
}

// refusesLarge reports whether Redis, which answers else, did not take a large
// request. Such a one may be over a limit of its.
func (c *caller) refusesLarge(work []*request, err error) bool {
	if len(work[0].body) <= largeMessage || err == nil || !certainlyNotRun(err, true) || faultOf(err) == nodeFault {
		return false
	}
	_, err = c.length()
	return err == nil || isRefusal(err, "")
}

// ask asks the broker what has to be known before work is pushed, and is not.
func (c *caller) ask(work []*request) error {
	if len(work) == 0 {
		return nil
	}
	if slices.ContainsFunc(work, (*request).hasDeadline) {
		if err := c.clock.refresh(); err != nil {
			return err
		}
	}
	return c.backlog.refresh()
}

// admitted fails the requests for which there is no room in the queue.
func (c *caller) admitted(work []*request) []*request {
	n := c.backlog.admit(len(work))
	for _, r := range work[n:] {
		c.overloaded.Add(1)
		c.fail(r, fmt.Errorf("%w: requests waiting in queue %q: %d", jsonrpc2.ErrOverloaded, c.queue, c.backlog.depth+int64(n)))
	}
	return work[:n]
}

func (c *caller) exec(work []*request) error {
	ctx, cancel := context.WithTimeout(context.Background(), sendPatience)
	defer cancel()
	wakes, asks := c.perCall != nil && c.perCall.isBlocked(), c.clock.isStale() && !c.clock.mute
	push := newOnce(ctx, c.pushArgs(work)...)
	if !wakes && !asks {
		_ = c.rdb.Process(ctx, push)
	} else {
		c.execBeside(ctx, push, wakes, asks)
	}
	c.buf = keep(c.buf)
	depth, err := push.Int64()
	c.backlog.set(depth, err)
	return err
}

// execBeside pushes requests, and wakes the fetcher and asks for the time before, in
// one go.
func (c *caller) execBeside(ctx context.Context, push once, wakes, asks bool) {
	pipeline := c.rdb.Pipeline()
	if wakes {
		c.addWake(ctx, pipeline)
	}
	var clock once
	if asks {
		clock = newOnce(ctx, timeCommands(c.rdb, c.queue)[0]...)
		_ = pipeline.Process(ctx, clock)
	}
	_ = pipeline.Process(ctx, push)
	begin := time.Now()
	_, _ = pipeline.Exec(ctx) // each command has its own error
	if !asks {
		return
	}
	took := time.Since(begin)
	switch t, err := timeOf(clock); {
	case err == nil && !t.IsZero():
		c.clock.check(reading{broker: t, local: begin.Add(took / 2), took: took})
	case isRefused(err):
		c.clock.mute = true
	}
}

// pushArgs makes the command that pushes all requests.
func (c *caller) pushArgs(work []*request) []any {
	args, b := append(make([]any, 0, len(work)+2), "lpush", c.queue), c.buf[:0]
	for _, r := range work {
		r.sent = true // as far as is known
		r.setDeadline(c.clock)
		start := len(b)
		b = r.appendTo(b)
		args = append(args, b[start:])
	}
	c.buf = b
	return args
}

// wanted drops the requests whose callers have given up.
func (c *caller) wanted(work []*request) []*request {
	wanted := work[:0]
	for _, r := range work {
		if r.ctx.Err() == nil {
			wanted = append(wanted, r)
			continue
		}
		c.expired.Add(1)
		c.out.Done(len(r.body))
	}
	return wanted
}

// refused fails the requests that were tried for long enough, and returns the
// others.
func (c *caller) refused(work []*request, err error) (again []*request) {
	now := time.Now()
	again = work[:0]
	for _, r := range work {
		r.sent = false
		if now.Before(r.until) {
			again = append(again, r)
			continue
		}
		c.failUnsent(r, err)
	}
	return again
}

func (c *caller) failUnsent(r *request, err error) {
	c.unsent.Add(1)
	c.fail(r, fmt.Errorf("%w: queue %q at %s: %w", jsonrpc2.ErrUnavailable, c.queue, addressOf(c.rdb), explain(c.state, c.rdb, err)))
}

// fail fails a request that is not sent.
func (c *caller) fail(r *request, err error) {
	r.sent = false
	c.out.Done(len(r.body))
	if c.perCall != nil {
		c.perCall.answered(r.list)
	}
	c.notes.Add(r.body, err)
}

func (c *caller) done(work []*request) {
	bytes := 0
	for _, r := range work {
		bytes += len(r.body)
	}
	c.out.Done(bytes)
}
