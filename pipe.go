package jsonrpc2

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"github.com/micromessaging/jsonrpc2/internal/link"
)

// Pipe returns both ends of a connection in memory: for tests of a service, without a
// broker and without a network. It works in a bubble of testing/synctest.
//
//	here, there := jsonrpc2.Pipe()
//	go jsonrpc2.Serve(ctx, server, there, nil)
//	client := jsonrpc2.NewClient(here, nil)
//
// Deadlines travel. When a caller gives up, the [Context] of its method is done, or its
// request is withdrawn if the server has not taken it. A call has no Peer. On the client a
// request fails with [ErrOverloaded] while 16 MiB wait for the server.
//
// When the server closes, the calls that it has not taken fail with [ErrUnavailable], and
// those that it has taken and not answered with [ErrReplyLost]. [Notify] returns nil at once:
// a notification that the server has not taken when it closes is lost.
func Pipe() (ClientConn, ServerConn) {
	p := &pipe{
		requested: make(chan struct{}, 1),
		replied:   make(chan struct{}, 1),
		hungUp:    make(chan struct{}),
		served:    make(chan struct{}),
	}
	return &pipeClient{pipe: p}, &pipeServer{pipe: p}
}

// A pipe is what both ends share. It has no goroutine.
type pipe struct {
	requested chan struct{} // receives if there may be a request
	replied   chan struct{} // receives if there may be a reply
	hungUp    chan struct{} // closed when the client is closed
	served    chan struct{} // closed when the server is closed

	mu       sync.Mutex // protects following
	requests []*Request
	bytes    int // of requests
	replies  []Reply
	failure  struct{ client, server error } // of Err; nil while the end is open
	opened   struct{ client, server bool }
}

func (p *pipe) open(opened *bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *opened {
		return ErrOpened
	}
	*opened = true
	return nil
}

// err returns what is wrong with an end. peer is closed when the other end is.
func (p *pipe) err(failure *error, peer <-chan struct{}) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if *failure != nil {
		return *failure
	}
	select {
	case <-peer:
		return io.EOF
	default:
		return nil
	}
}

// A pipeClient is the calling end of a pipe.
type pipeClient struct{ *pipe }

// Open implements ClientConn.
func (c *pipeClient) Open(Settings) error { return c.open(&c.opened.client) }

// WriteRequest implements ClientConn.
func (c *pipeClient) WriteRequest(r *Request) error {
	if err := c.put(r); err != nil {
		return err
	}
	r.Sent()
	return nil
}

func (c *pipeClient) put(r *Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.failure.client != nil:
		return c.failure.client
	case c.failure.server != nil:
		return errPipeClosed
	case c.bytes+len(r.Body) > maxWaiting:
		return ErrOverloaded
	}
	r.Keep()
	r.Handle = new(bool) // whether the server has taken r; mu protects it
	c.requests = append(c.requests, r)
	c.bytes += len(r.Body)
	link.Signal(c.requested)
	return nil
}

var errPipeClosed = fmt.Errorf("%w: the other end of the pipe is closed", ErrUnavailable)

// ReadReply implements ClientConn.
func (c *pipeClient) ReadReply(ctx context.Context) (Reply, error) {
	for {
		ended := isClosed(c.hungUp) || isClosed(c.served) // before the look at the replies: a server replies, then closes
		c.mu.Lock()
		if len(c.replies) > 0 && ctx.Err() == nil {
			reply := c.replies[0]
			c.replies = slices.Delete(c.replies, 0, 1)
			c.mu.Unlock()
			return reply, nil
		}
		c.mu.Unlock()
		if ended && ctx.Err() == nil {
			return Reply{}, io.EOF
		}
		select {
		case <-c.replied:
		case <-c.hungUp:
		case <-c.served:
		case <-ctx.Done():
			return Reply{}, ctx.Err()
		}
	}
}

// Inquire implements ClientConn.
func (c *pipeClient) Inquire(_ context.Context, requests []*Request) []error {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := make([]error, len(requests))
	for i, r := range requests {
		if at := slices.Index(c.requests, r); at >= 0 {
			c.requests = slices.Delete(c.requests, at, at+1)
			c.bytes -= len(r.Body)
		}
		if taken, ok := r.Handle.(*bool); ok && !*taken {
			found[i] = fmt.Errorf("%w: withdrawn before the server took it", ErrNotRun)
		}
	}
	return found
}

// Err implements ClientConn.
func (c *pipeClient) Err() error { return c.err(&c.failure.client, c.served) }

// Close implements ClientConn. The server can still take what was accepted.
func (c *pipeClient) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failure.client == nil {
		c.failure.client = net.ErrClosed
		close(c.hungUp)
	}
	return nil
}

// A pipeServer is the serving end of a pipe.
type pipeServer struct{ *pipe }

// Open implements ServerConn.
func (s *pipeServer) Open(Settings) error { return s.open(&s.opened.server) }

// ReadRequest implements ServerConn. It returns io.EOF when the client is closed and all
// that it has sent was taken.
func (s *pipeServer) ReadRequest(ctx context.Context) (Delivery, error) {
	for {
		if err := ctx.Err(); err != nil {
			return Delivery{}, err
		}
		r, ended := s.take()
		switch {
		case r != nil:
			return s.delivery(r, ctx), nil
		case ended:
			return Delivery{}, io.EOF
		}
		select {
		case <-s.requested:
		case <-s.hungUp:
		case <-s.served:
		case <-ctx.Done():
		}
	}
}

// take takes the next request that has to run, nil if there is none. ended reports whether
// none will come.
func (s *pipeServer) take() (r *Request, ended bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.requests) > 0 {
		r, s.requests = s.requests[0], s.requests[1:]
		s.bytes -= len(r.Body)
		// A notification counts as given up once it was sent, but has to run.
		if !r.GivenUp() || r.HasNotification() {
			*r.Handle.(*bool) = true
			return r, false
		}
	}
	return nil, s.failure.client != nil || s.failure.server != nil
}

func (s *pipeServer) delivery(r *Request, ctx context.Context) Delivery {
	d := Delivery{
		Body:     r.Body,
		Deadline: r.Deadline(),
		Reply:    func(body []byte) error { return s.reply(r, body) },
	}
	if !r.HasNotification() { // the Context of one that was sent is done
		d.Context = pipeContext{(*requestContext)(r), ctx}
	}
	return d
}

// A pipeContext is done when a request has ended, and has the values of the server.
type pipeContext struct {
	*requestContext
	values context.Context
}

func (c pipeContext) Value(key any) any { return c.values.Value(key) }

func (s *pipeServer) reply(r *Request, body []byte) error {
	if body == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure.client != nil {
		return io.ErrClosedPipe
	}
	s.replies = append(s.replies, Reply{Body: slices.Clone(body), Request: r})
	link.Signal(s.replied)
	return nil
}

// Err implements ServerConn.
func (s *pipeServer) Err() error { return s.err(&s.failure.server, s.hungUp) }

// Close implements ServerConn. Calls that were not taken fail before the client's ReadReply
// returns io.EOF: the codec then fails all others as calls that may have run.
func (s *pipeServer) Close() error {
	requests, first := s.refuse()
	if !first {
		return nil
	}
	for _, r := range requests {
		r.Fail(errPipeClosed)
	}
	close(s.served)
	return nil
}

// refuse makes put fail from now on, and returns the requests that were not taken. first is
// false if that was done before.
func (s *pipeServer) refuse() (requests []*Request, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure.server != nil {
		return nil, false
	}
	s.failure.server = net.ErrClosed
	requests, s.requests, s.bytes = s.requests, nil, 0
	return requests, true
}
