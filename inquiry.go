package jsonrpc2

import (
	"context"
	"fmt"
	"sync"
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

// inquiries are those that are to be made.
type inquiries struct {
	overdue []inquiry
	running bool           // the asking goroutine runs
	asking  sync.WaitGroup // for it
}

// failOverdue ends a call that was removed and is overdue, after an inquiry. It
// reports whether there is one. It is called with c.mu locked.
func (c *clientCodec) failOverdue(p *pendingCall, err error, now time.Time) bool {
	if c.closing {
		c.fail(p, err)
		return false
	}
	c.inquire(inquiry{p, err, now.Add(inquiryTime)})
	return true
}

// withdraw has the request of a call that has ended withdrawn. It is called with
// c.mu locked.
func (c *clientCodec) withdraw(p *pendingCall) {
	if !c.closing {
		c.inquire(inquiry{call: p, until: time.Now().Add(inquiryTime)})
	}
}

// inquire has the asking goroutine ask of i, too. It is called with c.mu locked.
func (c *clientCodec) inquire(i inquiry) {
	c.inquiries.overdue = append(c.inquiries.overdue, i)
	if !c.inquiries.running {
		c.inquiries.running = true
		c.inquiries.asking.Go(c.ask)
	}
}

// ask inquires of all that are overdue, in one go, and again of those that became so
// meanwhile. A request that is just being handed over it lets be handed over first.
func (c *clientCodec) ask() {
	for {
		overdue := c.takeOverdue()
		if len(overdue) == 0 {
			return
		}
		requests := make([]*Request, len(overdue))
		c.writing.Lock()
		for i := range overdue {
			requests[i] = &overdue[i].call.Request
		}
		c.writing.Unlock()
		ctx, cancel := context.WithDeadline(context.Background(), overdue[0].until)
		found := c.conn.Inquire(ctx, requests)
		cancel()
		c.failInquired(overdue, found)
	}
}

func (c *clientCodec) takeOverdue() (overdue []inquiry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	overdue, c.inquiries.overdue = c.inquiries.overdue, nil
	c.inquiries.running = len(overdue) > 0
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
