package jsonrpc2

import (
	"context"
	"io"
	"net/rpc"
)

// A failureQueue has the calls that the reading goroutine has to end with an error.
type failureQueue struct {
	calls     []failure
	reading   context.Context // of the ReadReply under way; canceled when there is a failure
	interrupt context.CancelFunc
	stopped   bool // no answer is wanted any more
}

// A failure is a call that ends without a response, and the error that it ends with.
type failure struct {
	call *pendingCall
	err  error
}

// nextFailure returns the next call that has failed. If there is none, it returns the
// context for the next ReadReply, and a Shutdown learns whether all calls have ended: net/rpc
// has all answers and errors then.
func (c *clientCodec) nextFailure() (failure, context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failures.calls) == 0 {
		c.failures.calls = nil
		if c.failures.stopped {
			c.in.err = io.EOF
		}
		c.pending.unread = c.in.err != nil
		if len(c.pending.bySeq) == 0 {
			c.pending.endIdle()
		}
		if c.failures.reading.Err() != nil {
			c.failures.reading, c.failures.interrupt = context.WithCancel(context.Background())
		}
		return failure{}, c.failures.reading
	}
	f := c.failures.calls[0]
	c.failures.calls = c.failures.calls[1:]
	return f, nil
}

// respond makes r the error response to p, and tells p's Begin and Call the error.
func (p *pendingCall) respond(r *rpc.Response, err error) {
	p.tell(err)
	r.Seq, r.Error = p.seq, flatText(err)
	if p.call != nil {
		p.call.err = err
	}
}

// stopReading ends the reading: callers need not wait while the Conn sends the rest.
func (c *clientCodec) stopReading() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failures.stopped = true
	c.failures.interrupt()
}
