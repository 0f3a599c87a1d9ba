package jsonrpc2

import (
	"context"
	"fmt"
	"time"
)

// inquiryTime is for how long a call that was not answered in time waits to
// learn more.
const inquiryTime = 500 * time.Millisecond

// An inquiry is a call that ended without an answer, of which the Conn may know
// more.
type inquiry struct {
	call  *pendingCall
	err   error     // that the call is to end with; nil if it has ended
	until time.Time // the call waits for more
}

// Keep implements Keeper.
func (p *pendingCall) Keep(request any) { p.kept.Store(request) }

// failOverdue ends a call that was removed and is overdue, after an inquiry if
// there can be one: then it is true. It is called with c.mu locked.
func (c *clientCodec) failOverdue(p *pendingCall, err error, now time.Time) bool {
	if c.inquirer == nil || c.closed {
		c.fail(p, err)
		return false
	}
	c.inquire(inquiry{p, err, now.Add(inquiryTime)})
	return true
}

// withdraw has the request of a call that has ended withdrawn. It is called with
// c.mu locked.
func (c *clientCodec) withdraw(p *pendingCall) {
	if c.inquirer != nil && !c.closed && p.kept.Load() != nil {
		c.inquire(inquiry{call: p, until: time.Now().Add(inquiryTime)})
	}
}

// inquire has the asking goroutine ask of i, too. It is called with c.mu locked.
func (c *clientCodec) inquire(i inquiry) {
	c.overdue = append(c.overdue, i)
	if !c.inquiring {
		c.inquiring = true
		c.asking.Go(c.ask)
	}
}

// ask asks of all that are overdue, in one go, and again of those that became so
// meanwhile.
func (c *clientCodec) ask() {
	for {
		overdue := c.takeOverdue()
		if len(overdue) == 0 {
			return
		}
		requests := make([]any, len(overdue))
		for i := range overdue {
			requests[i] = overdue[i].call.kept.Load()
		}
		ctx, cancel := context.WithDeadline(context.Background(), overdue[0].until)
		found := c.inquirer.Inquire(ctx, requests)
		cancel()
		c.failInquired(overdue, found)
	}
}

func (c *clientCodec) takeOverdue() (overdue []inquiry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	overdue, c.overdue = c.overdue, nil
	c.inquiring = len(overdue) > 0
	return overdue
}

// failInquired ends calls with what was found out of them.
func (c *clientCodec) failInquired(overdue []inquiry, found []error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, o := range overdue {
		switch {
		case o.err == nil:
		case i < len(found) && found[i] != nil:
			c.fail(o.call, fmt.Errorf("%w: %w", o.err, found[i]))
		default:
			c.fail(o.call, o.err)
		}
	}
}
