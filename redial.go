package jsonrpc2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// connect starts the connector. It is called with c.mu locked.
func (c *RedialConn) connect() {
	c.connecting = true
	cause := c.cause
	c.tasks.Go(func() { c.connector(cause) })
}

// connector dials until there is a stream, or Close begins. cause is what ended the last
// stream, nil if nothing is wrong. Each state of the connection is logged here, so that the
// lines are in order.
func (c *RedialConn) connector(cause error) {
	if cause != nil {
		c.log.Failed("calling", cause)
	}
	if !c.pause(c.firstPause(cause)) {
		return
	}
	for {
		rwc, err := c.dialOnce()
		switch {
		case err == nil:
			c.use(rwc)
			return
		case c.unclosed.Err() != nil:
			return
		}
		c.tryFailed(err)
		if !c.pause(c.backoff.Next()) {
			return
		}
	}
}

// firstPause returns how long to wait before the first try, after a stream that cause has
// ended. It is called once for each connector.
func (c *RedialConn) firstPause(cause error) time.Duration {
	if c.early {
		return c.backoff.Next()
	}
	c.backoff.Reset()
	if cause == nil {
		return 0
	}
	return minRedialTime - time.Since(c.before)
}

// A dialed is what dial returned: a stream, or an error.
type dialed struct {
	rwc io.ReadWriteCloser
	err error
}

// dialOnce calls dial, and meanwhile fails the requests that can't wait for it. When Close
// begins, it waits for dial for closeGrace at most. The goroutine of dial then closes the
// stream that nobody takes.
func (c *RedialConn) dialOnce() (io.ReadWriteCloser, error) {
	ctx, cancel := context.WithTimeout(c.unclosed, dialTimeout)
	defer cancel()
	results, abandoned := make(chan dialed), make(chan struct{})
	defer close(abandoned)
	go func() {
		var d dialed
		d.rwc, d.err = c.dial(ctx)
		select {
		case results <- d:
		case <-abandoned:
			d.close()
		}
	}()
	for {
		impatient := time.NewTimer(c.failImpatient())
		select {
		case d := <-results:
			impatient.Stop()
			return d.result()
		case <-impatient.C:
		case <-c.arrived:
			impatient.Stop()
		case <-c.unclosed.Done():
			impatient.Stop()
			select {
			case d := <-results:
				d.close()
			case <-time.After(closeGrace):
			}
			return nil, net.ErrClosed
		}
	}
}

func (d dialed) result() (io.ReadWriteCloser, error) {
	if d.err == nil && d.rwc == nil {
		d.err = errors.New("dial returned no stream")
	}
	return d.rwc, d.err
}

// close closes a stream that is not used.
func (d dialed) close() {
	if d.err == nil && d.rwc != nil {
		closeAbruptly(d.rwc)
	}
}

// tryFailed notes why a try has failed.
func (c *RedialConn) tryFailed(err error) {
	c.count.dialErrors.Add(1)
	c.log.Failed("connecting", err)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cause = err
}

// pause waits for d before the next try, but for no longer than hurriedPause while requests
// wait. Meanwhile it fails the requests that can't wait so long. It reports whether to go on:
// not after Close.
func (c *RedialConn) pause(d time.Duration) bool {
	until := time.Now().Add(d)
	for {
		left := c.failImpatient()
		if c.isWanted() {
			until = earlier(until, time.Now().Add(hurriedPause))
		}
		timer := time.NewTimer(min(left, time.Until(until)))
		select {
		case <-timer.C:
			if !time.Now().Before(until) {
				return true
			}
		case <-c.arrived:
			timer.Stop()
		case <-c.unclosed.Done():
			timer.Stop()
			return false
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// isWanted reports whether requests wait.
func (c *RedialConn) isWanted() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.waiting.requests) > 0
}

// failImpatient fails the requests that have waited for redialPatience, if there is a cause to
// fail them with. It returns after how long it has to be called again, unless a request comes.
func (c *RedialConn) failImpatient() (after time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cause == nil {
		return dialTimeout
	}
	now := time.Now()
	for _, w := range c.waiting.takeUntil(now) {
		c.failUnsent(w, c.cause)
	}
	if len(c.waiting.requests) == 0 {
		return dialTimeout
	}
	return c.waiting.requests[0].until.Sub(now)
}

// A dialedStream is one of the streams that dial returned.
type dialedStream struct {
	*StreamConn
	since    time.Time
	brought  bool            // a message came while a call waited; the reading goroutine's own
	underWay writtenRequests // protected by the Conn's mutex
}

// isAwaited reports whether a call waits for an answer from the stream.
func (c *RedialConn) isAwaited(s *dialedStream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(s.underWay.requests, func(r *Request) bool { return !r.GivenUp() && !r.IsNotification() })
}

// end closes a stream at once. Its writer fails the requests that it has not written.
func (s *dialedStream) end() {
	closeAbruptly(s.rwc) // first: Close alone would wait for a peer that takes nothing
	_ = s.Close()
}

// use makes a stream the connection, and writes what waits.
func (c *RedialConn) use(rwc io.ReadWriteCloser) {
	keepAlive(rwc)
	c.count.connects.Add(1)
	c.log.Worked("calling")
	c.log.Worked("connecting")
	s := &dialedStream{StreamConn: NewStreamConn(rwc), since: time.Now()}
	s.out.lost = &c.count.lost
	if !c.attach(s) {
		s.end()
	}
}

// attach makes a stream the connection, and hands it what waits. It reports whether a stream
// is wanted: not after Close.
func (c *RedialConn) attach(s *dialedStream) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return false
	}
	_ = s.Open(c.settings)
	c.stream, c.connecting, c.cause = s, false, nil
	for _, w := range c.waiting.take() {
		if w.GivenUp() {
			c.count.expired.Add(1)
			continue
		}
		w.sent = true
		if err := c.send(w.Request); err != nil {
			w.Fail(withSentinel(err, ErrUnavailable))
		}
	}
	link.Signal(c.connected)
	return true
}

// streamEnded closes a stream that has ended, and fails what is under way on it. The reading
// goroutine calls it.
func (c *RedialConn) streamEnded(s *dialedStream, why error) {
	requests, cause, ok := c.detach(s, why)
	if !ok {
		return
	}
	defer c.tasks.Done()
	s.end()
	for _, r := range requests {
		if !r.GivenUp() {
			c.count.lost.Add(1)
			r.Fail(fmt.Errorf("%w: %w", ErrReplyLost, cause))
		}
	}
}

// detach notes that there is no connection any more, and starts a connector unless nothing is
// wrong. It returns the requests that were under way, and what to tell them. ok is false after
// Close, which closes the stream itself. If ok is true, the caller closes the stream and then
// calls c.tasks.Done.
func (c *RedialConn) detach(s *dialedStream, why error) (requests []*Request, cause error, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stream = nil
	if c.stopped {
		return nil, nil, false
	}
	c.tasks.Add(1)
	c.before, c.last = c.last, s.since
	c.early = !s.brought && time.Since(s.since) < earlyEnd
	requests = s.underWay.unended()
	if err := s.out.failure(); err != nil { // after unended: a write that fails ends its requests, and is no orderly end
		why = err // even if the peer has closed the stream before
	}
	if why == io.EOF && len(requests) == 0 && len(c.waiting.requests) == 0 {
		return nil, nil, true
	}
	cause = causeOfEnd(s, why)
	c.cause = cause
	c.connect()
	return requests, cause, true
}

// causeOfEnd returns what ended a stream.
func causeOfEnd(s *dialedStream, why error) error {
	if why == io.EOF {
		why = io.ErrUnexpectedEOF // as net/rpc calls it
	}
	if conn, ok := s.rwc.(net.Conn); ok && conn.RemoteAddr() != nil {
		return fmt.Errorf("the connection to %s has ended: %w", conn.RemoteAddr(), why)
	}
	return fmt.Errorf("the connection has ended: %w", why)
}

// closeAbruptly closes a stream that is of no use. It does not send the last message of a TLS
// connection, close_notify, which may take 5 s.
func closeAbruptly(stream io.Closer) {
	if outer, ok := stream.(interface{ NetConn() net.Conn }); ok {
		_ = outer.NetConn().Close()
	}
	_ = stream.Close()
}
