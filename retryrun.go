package jsonrpc2

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// tryFailed notes that a try has failed. It is called with the locks of the Conn held, so run
// decides what follows; after Close the request fails.
func (c *retryConn) tryFailed(rt *retried, err error) {
	c.mu.Lock()
	rt.state, rt.err = failed, err
	rt.tries++
	if rt.index >= 0 {
		heap.Remove(&c.due, rt.index)
	}
	if c.closed {
		err = rt.final(err)
		c.mu.Unlock()
		rt.request.Fail(err)
		return
	}
	c.failed = append(c.failed, rt)
	c.mu.Unlock()
	link.Signal(c.wake)
}

// run decides about the tries that have failed, and makes those that are due, until Close.
func (c *retryConn) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		failed, closed := c.takeFailed()
		if closed {
			c.failAll(failed)
			return
		}
		for _, rt := range failed {
			c.decide(rt)
		}
		next := c.makeDue()
		timer.Stop()
		if next > 0 {
			timer.Reset(next)
		}
		select {
		case <-c.wake:
		case <-timer.C:
		}
	}
}

func (c *retryConn) takeFailed() (failed []*retried, closed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	failed, c.failed = c.failed, nil
	return failed, c.closed
}

// failAll fails what waits when the Conn is closed.
func (c *retryConn) failAll(failed []*retried) {
	c.mu.Lock()
	for _, rt := range c.due {
		rt.index = -1
		if rt.state == waiting {
			failed = append(failed, rt)
		}
	}
	c.due, c.bytes = nil, 0
	c.mu.Unlock()
	for _, rt := range failed {
		c.fail(rt, nil)
	}
}

// decide sends a request again later whose try has failed, or fails it.
func (c *retryConn) decide(rt *retried) {
	now := time.Now()
	notRun := certainlyNotRun(rt.err)
	away := notRun && sentinelOf(rt.err.Error()) == ErrUnavailable && (isUnseen(rt.err) || c.ClientConn.Err() != nil)
	c.mu.Lock()
	rt.mayHaveRun = rt.mayHaveRun || !notRun
	rt.repeats, rt.unpaid = !notRun, !away
	why := errFinal
	if mayRetry(rt.err) && (notRun || rt.policy.Idempotent) {
		why = c.schedule(rt, now)
	}
	c.mu.Unlock()
	if why != nil {
		c.fail(rt, why)
	}
}

// These say why a request is not sent again.
var (
	errFinal      = errors.New("it may not be sent again")
	errNoTime     = errors.New("its deadline is too near to send it again")
	errWithheld   = errors.New("too many are sent again already, see jsonrpc2.Retry")
	errManyWait   = fmt.Errorf("%d MiB wait to be sent again already", maxWaiting>>20)
	errAllEnded   = errors.New("it has ended")
	errConnClosed = fmt.Errorf("the client has ended: %w", net.ErrClosed)
)

// schedule has a request wait for its next try. It returns why that can't be. It is called
// with c.mu locked.
func (c *retryConn) schedule(rt *retried, now time.Time) error {
	limit := limitOf(rt.request)
	rt.at = now.Add(rt.backoff.Next())
	switch {
	case rt.request.GivenUp():
		return errAllEnded
	case !limit.IsZero() && !rt.at.Before(limit):
		return errNoTime
	case c.bytes+len(rt.request.Body) > maxWaiting:
		return errManyWait
	}
	rt.state = waiting
	c.bytes += len(rt.request.Body)
	c.push(rt)
	return nil
}

// fail ends a request with the error of its last try, and why it is not sent again.
func (c *retryConn) fail(rt *retried, why error) {
	c.mu.Lock()
	err := rt.final(rt.err)
	c.mu.Unlock()
	if why == errWithheld || why == errManyWait || why == errNoTime {
		err = fmt.Errorf("%w; %w", err, why)
	}
	rt.request.Fail(err)
}

// makeDue makes the tries whose time has come, and looks at those that have no answer After
// theirs. It returns how long it is until the next, 0 if there is none.
func (c *retryConn) makeDue() time.Duration {
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	for {
		rt, unsent, next := c.nextDue()
		switch {
		case rt == nil:
			return next
		case unsent:
			c.sendAgain(rt)
		default:
			c.overdueTry(rt)
		}
	}
}

// sendAgain makes the next try of a request, or puts it off if the budget does not allow it.
func (c *retryConn) sendAgain(rt *retried) {
	body, now := rt.body(), time.Now()
	c.mu.Lock()
	var why error
	switch {
	case body == nil:
		why = errAllEnded
	case rt.unpaid && c.budget.withdraw(now):
		rt.unpaid = false
	case rt.unpaid:
		c.stats.withheld.Add(1)
		if c.schedule(rt, now) != nil {
			why = errWithheld
		}
	}
	unpaid := rt.unpaid
	c.mu.Unlock()
	switch {
	case why != nil:
		c.fail(rt, why)
	case unpaid:
	case rt.repeats:
		c.stats.repeated.Add(1)
		c.send(rt, body)
	default:
		c.stats.resent.Add(1)
		c.send(rt, body)
	}
}

// nextDue removes and returns a request whose time has come, and whether it waits to be sent.
// It returns nil if there is none, and how long it is until there is one.
func (c *retryConn) nextDue() (due *retried, unsent bool, next time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.due) == 0 || c.closed {
		return nil, false, 0
	}
	rt := c.due[0]
	if next = time.Until(rt.at); next > 0 {
		return nil, false, next
	}
	heap.Pop(&c.due)
	if unsent = rt.state == waiting; unsent {
		c.bytes -= len(rt.request.Body)
	}
	return rt, unsent, 0
}

// overdueTry has a try withdrawn that has no answer After its time, so that the request is
// sent again. While the Conn does not work, it waits.
func (c *retryConn) overdueTry(rt *retried) {
	a, now := rt.attempt, time.Now()
	if c.ClientConn.Err() != nil {
		c.watch(rt, a, now.Add(min(rt.policy.After, maxRetryBackoff)))
		return
	}
	c.mu.Lock()
	allowed := c.budget.withdraw(now)
	c.mu.Unlock()
	if !allowed { // later, perhaps; its answer may still come
		c.stats.withheld.Add(1)
		c.watch(rt, a, now.Add(rt.policy.After))
		return
	}
	if !a.finish(canceled) { // it has ended meanwhile
		return
	}
	rt.request.leave(a)
	a.unsend()
	c.mu.Lock()
	defer c.mu.Unlock()
	rt.state = withdrawing
	rt.err = fmt.Errorf("%w: no answer came within %v", ErrTimeout, rt.policy.After)
	rt.tries++
	c.overdue = append(c.overdue, rt)
	if !c.withdrawing {
		c.withdrawing = true
		c.withdrawal.Go(c.withdraw)
	}
}

// withdraw withdraws tries, and has their requests sent again, until there are no more.
func (c *retryConn) withdraw() {
	for {
		overdue := c.takeOverdue()
		if len(overdue) == 0 {
			return
		}
		requests := make([]*Request, len(overdue))
		for i, rt := range overdue {
			if !rt.request.HasNotification() { // else one that was sent would be withdrawn
				requests[i] = &rt.attempt.Request
			}
		}
		ctx, cancel := context.WithTimeout(context.Background(), inquiryTime)
		found := c.inquire(ctx, requests)
		cancel()
		for i, rt := range overdue {
			c.withdrawn(rt, i < len(found) && errors.Is(found[i], ErrNotRun))
		}
	}
}

func (c *retryConn) takeOverdue() (overdue []*retried) {
	c.mu.Lock()
	defer c.mu.Unlock()
	overdue, c.overdue = c.overdue, nil
	c.withdrawing = len(overdue) > 0
	return overdue
}

// withdrawn has a request sent again whose try the Conn was asked to withdraw.
func (c *retryConn) withdrawn(rt *retried, notRun bool) {
	c.mu.Lock()
	rt.mayHaveRun = rt.mayHaveRun || !notRun
	rt.repeats, rt.unpaid = !notRun, false // it was paid for when its time was over
	rt.state = waiting
	closed := c.closed
	if !closed {
		rt.at = time.Now()
		c.bytes += len(rt.request.Body)
		c.push(rt)
	}
	c.mu.Unlock()
	if closed {
		c.fail(rt, errConnClosed)
	}
}
