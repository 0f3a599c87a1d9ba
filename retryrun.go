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

// tryFailed notes that a try has failed, for run to decide what follows: the locks of the Conn
// may be held here. After Close the request fails at once.
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

// failAll fails what waits when the Conn is closed. Tries that are under way end with the Conn.
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

// decide schedules the next try of a request whose try has failed, or fails the request. The
// next try costs nothing if the last one only lacked a connection.
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

// schedule makes a request wait for its next try. If it can't, it returns why. It is called
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

// fail ends a request with the error of its last try. It adds why, if that says more than that
// the request may not be sent again.
func (c *retryConn) fail(rt *retried, why error) {
	c.mu.Lock()
	err := rt.final(rt.err)
	c.mu.Unlock()
	if why == errWithheld || why == errManyWait || why == errNoTime {
		err = fmt.Errorf("%w; %w", err, why)
	}
	rt.request.Fail(err)
}

// makeDue makes the tries whose time has come, and ends those that have had no answer for
// After. It returns after how long it has to be called again, 0 for not before a wake.
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

// nextDue takes a request whose time has come. unsent says that it waits to be sent; otherwise
// its try has had no answer for After. due is nil if there is none; next is then how long it
// is until there is one, 0 if nothing waits.
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

// overdueTry ends a try that has had no answer for After, and makes withdraw withdraw it. The
// request is then sent again. While the Conn does not work, the try goes on.
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

// withdraw withdraws tries, and schedules the next tries of their requests, until no more are
// overdue. It has a goroutine of its own, as Inquire may take long.
func (c *retryConn) withdraw() {
	for {
		overdue := c.takeOverdue()
		if len(overdue) == 0 {
			return
		}
		requests := make([]*Request, len(overdue))
		for i, rt := range overdue {
			if !rt.request.HasNotification() { // a notification that was sent must not be withdrawn
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

// takeOverdue takes the tries to withdraw. If there are none, overdueTry starts withdraw again
// for the next one.
func (c *retryConn) takeOverdue() (overdue []*retried) {
	c.mu.Lock()
	defer c.mu.Unlock()
	overdue, c.overdue = c.overdue, nil
	c.withdrawing = len(overdue) > 0
	return overdue
}

// withdrawn schedules the next try of a request at once, after the Conn was asked to withdraw
// the last one. notRun says that the last one was withdrawn.
func (c *retryConn) withdrawn(rt *retried, notRun bool) {
	c.mu.Lock()
	rt.mayHaveRun = rt.mayHaveRun || !notRun
	rt.repeats, rt.unpaid = !notRun, false // overdueTry has paid
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
