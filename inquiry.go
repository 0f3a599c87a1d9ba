package jsonrpc2

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// inquiryTime is how long a call that has timed out waits for its inquiry, at most.
const inquiryTime = 500 * time.Millisecond

// An inquiry is about a call that got no answer: the Conn may know what became of its
// request.
type inquiry struct {
	call  *pendingCall
	err   error     // to end the call with; nil if it has ended
	until time.Time // when the call waits no longer
}

// inquiries are those to be made, and the goroutine that makes them. The codec's mu protects
// them.
type inquiries struct {
	overdue []inquiry      // not made yet
	running bool           // the asking goroutine runs
	asking  sync.WaitGroup // for that goroutine
}

// failOverdue queues an inquiry about an overdue call, which was removed from the pending
// ones. The call ends after the inquiry. If the codec is being closed, the call ends at once,
// and failOverdue reports false. It is called with c.mu locked.
func (c *clientCodec) failOverdue(p *pendingCall, err error, now time.Time) bool {
	if c.closing {
		c.fail(p, err)
		return false
	}
	c.inquire(inquiry{p, err, now.Add(inquiryTime)})
	return true
}

// withdraw queues an inquiry that withdraws the request of a call that has ended. It is
// called with c.mu locked.
func (c *clientCodec) withdraw(p *pendingCall) {
	if !c.closing {
		c.inquire(inquiry{call: p, until: time.Now().Add(inquiryTime)})
	}
}

// inquire queues an inquiry, and starts the asking goroutine unless it runs. It is called
// with c.mu locked.
func (c *clientCodec) inquire(i inquiry) {
	c.inquiries.overdue = append(c.inquiries.overdue, i)
	if !c.inquiries.running {
		c.inquiries.running = true
		c.inquiries.asking.Go(c.ask)
	}
}

// ask makes inquiries until none is queued, each time all that are. It first waits until the
// WriteRequest under way has returned, as Inquire requires.
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

// takeOverdue takes the queued inquiries. If there are none, inquire starts ask again for the
// next one.
func (c *clientCodec) takeOverdue() (overdue []inquiry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	overdue, c.inquiries.overdue = c.inquiries.overdue, nil
	c.inquiries.running = len(overdue) > 0
	return overdue
}

// failInquired ends calls with their errors and what was found out about them. Those without
// an error have ended before.
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
