package redisconn

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// push pushes requests, and returns those to try again.
func (c *ClientConn) push(work []*request) (again []*request) {
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
	for n < len(work) && len(work[n].Body) <= largeMessage {
		n++
	}
	return max(n, 1)
}

// pushTogether pushes requests in one command, and returns those to try again.
func (c *ClientConn) pushTogether(work []*request) (again []*request) {
	err := c.exec(work)
	if c.refusesLarge(work, err) { // or it was the connection
		if err = c.exec(work); c.refusesLarge(work, err) {
			c.failUnsent(work[0], fmt.Errorf("it has %d bytes: %w", len(work[0].Body), explain(c.state, c.rdb, err)))
			return nil
		}
	}
	switch {
	case err == nil:
		c.state.Worked("sending requests")
		c.sent(work)
	case certainlyNotRun(err, true):
		impaired(c.state, c.rdb, "sending requests", err)
		return c.refused(work, err)
	default:
		impaired(c.state, c.rdb, "sending requests", err)
		c.unconfirmed(work, err)
	}
	return nil
}

// refusesLarge reports whether Redis, which answers else, did not take a large
// request. Such a one may be over a limit of its.
func (c *ClientConn) refusesLarge(work []*request, err error) bool {
	if len(work[0].Body) <= largeMessage || err == nil || !certainlyNotRun(err, true) || faultOf(err) == nodeFault {
		return false
	}
	_, err = c.length()
	return err == nil || isRefusal(err, "")
}

// ask asks the broker what has to be known before work is pushed, and is not.
func (c *ClientConn) ask(work []*request) error {
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
func (c *ClientConn) admitted(work []*request) []*request {
	n := c.backlog.admit(len(work))
	for _, r := range work[n:] {
		c.overloaded.Add(1)
		c.fail(r, fmt.Errorf("%w: requests waiting in queue %q: %d", jsonrpc2.ErrOverloaded, c.queue, c.backlog.depth+int64(n)))
	}
	return work[:n]
}

func (c *ClientConn) exec(work []*request) error {
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
func (c *ClientConn) execBeside(ctx context.Context, push once, wakes, asks bool) {
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
func (c *ClientConn) pushArgs(work []*request) []any {
	args, b := append(make([]any, 0, len(work)+2), "lpush", c.queue), c.buf[:0]
	for _, r := range work {
		r.pushed = true // as far as is known
		r.setDeadline(c.clock)
		start := len(b)
		b = r.appendTo(b)
		args = append(args, b[start:])
	}
	c.buf = b
	return args
}

// wanted drops the requests whose callers have given up.
func (c *ClientConn) wanted(work []*request) []*request {
	wanted := work[:0]
	for _, r := range work {
		if !r.GivenUp() {
			wanted = append(wanted, r)
			continue
		}
		c.expired.Add(1)
		c.out.Done(len(r.Body))
	}
	return wanted
}

// refused fails the requests that were tried for long enough, and returns the
// others.
func (c *ClientConn) refused(work []*request, err error) (again []*request) {
	now := time.Now()
	again = work[:0]
	for _, r := range work {
		r.pushed = false
		if now.Before(r.until) {
			again = append(again, r)
			continue
		}
		c.failUnsent(r, explain(c.state, c.rdb, err))
	}
	return again
}

// failLeft fails the requests that are left when the ClientConn is closed.
func (c *ClientConn) failLeft(work []*request) {
	c.pushing <- struct{}{}
	defer func() { <-c.pushing }()
	for _, r := range c.wanted(work) {
		c.failUnsent(r, fmt.Errorf("closed meanwhile: %w", closeCause(c.state)))
	}
}

func (c *ClientConn) failUnsent(r *request, err error) {
	c.unsent.Add(1)
	c.fail(r, c.failure(jsonrpc2.ErrUnavailable, err))
}

// fail fails a request that is not sent.
func (c *ClientConn) fail(r *request, err error) {
	r.pushed = false
	c.out.Done(len(r.Body))
	r.Fail(err)
}

// failure returns the error of a request that did not get through.
func (c *ClientConn) failure(sentinel, err error) error {
	return fmt.Errorf("%w: queue %q at %s: %w", sentinel, c.queue, addressOf(c.rdb), err)
}

// sent notes that requests have arrived.
func (c *ClientConn) sent(work []*request) {
	c.requests.Add(int64(len(work)))
	c.done(work)
	for _, r := range work {
		r.Sent()
	}
}

// unconfirmed notes that requests may have arrived: calls wait for their answers,
// notifications end.
func (c *ClientConn) unconfirmed(work []*request, err error) {
	c.done(work)
	err = c.failure(jsonrpc2.ErrUnconfirmed, explain(c.state, c.rdb, err))
	for _, r := range work {
		r.Fail(err)
	}
}

func (c *ClientConn) done(work []*request) {
	bytes := 0
	for _, r := range work {
		bytes += len(r.Body)
	}
	c.out.Done(bytes)
}
