package httpconn

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// DialOptions are the options of Dial. The zero value is useful, and so is a
// nil pointer to it.
type DialOptions struct {
	// Client makes the requests. If nil, the ClientConn has one of its own, which keeps
	// up to 512 idle connections. Redirects are not followed: a call that is redirected
	// fails. If the Timeout of Client ends a call, it fails with ErrUnavailable while
	// nothing is sent, with ErrTimeout while it waits for the response, and with
	// ErrReplyLost while it reads the body.
	Client *http.Client

	// Header, if set, may add to the header of each request, for example a bearer token
	// or the trace context in the caller's ctx. For a batch ctx has the values of its
	// first call's ctx. Several goroutines may call Header at once.
	Header func(ctx context.Context, header http.Header)
}

const (
	maxWaiting  = 16 << 20 // bytes of requests under way
	maxIdle     = 512      // connections
	idleTimeout = 90 * time.Second

	maxIdleWorkers = 64
)

// A ClientConn calls the server at a URL. Dial makes it; give it to one codec, as
// jsonrpc2.NewClient does. The codec calls and closes it. Err and Stats are for any goroutine. Each
// request is one POST on a goroutine of its own. The POST ends when the request ends, and
// Close awaits these goroutines.
type ClientConn struct {
	target

	client *http.Client
	own    bool // client is ours to close
	do     func(*http.Request) (*http.Response, error)

	traced  context.Context // has a trace; nil if net/http does not send the requests, see watch
	timed   atomic.Pointer[timedHeader]
	header  func(context.Context, http.Header)
	maxBody int64                  // set by Open
	replies chan jsonrpc2.Reply    // for ReadReply
	posts   chan *jsonrpc2.Request // an idle worker receives its next request

	opened    atomic.Bool
	unreached atomic.Pointer[unreached] // the last request did not reach the server; nil if it did
	close     sync.Once
	closing   chan struct{} // closed by Close at first: no request is accepted, no answer wanted
	closed    chan struct{} // closed by Close when no request is under way any more

	mu       sync.Mutex // protects following
	requests int64      // so far
	bytes    int        // of the requests under way
	underWay map[*jsonrpc2.Request]struct{}

	workers sync.WaitGroup
	idle    atomic.Int64 // workers
}

var _ jsonrpc2.ClientConn = (*ClientConn)(nil)

// Dial returns a ClientConn that calls the server at url, http:// or https://. A user and
// password in it are sent as basic authentication. Dial does not connect: its error is
// about the URL.
func Dial(url string, opts *DialOptions) (*ClientConn, error) {
	if opts == nil {
		opts = &DialOptions{}
	}
	target, err := newTarget(url)
	if err != nil {
		return nil, err
	}
	c := &ClientConn{
		target:   target,
		header:   opts.Header,
		maxBody:  jsonrpc2.DefaultMaxMessageSize,
		replies:  make(chan jsonrpc2.Reply),
		posts:    make(chan *jsonrpc2.Request),
		closing:  make(chan struct{}),
		closed:   make(chan struct{}),
		underWay: make(map[*jsonrpc2.Request]struct{}),
	}
	c.client, c.own = newClient(opts.Client)
	c.do = c.client.Do
	if c.own { // our own needs nothing else of a Client
		c.do = c.client.Transport.RoundTrip
	}
	if transport, ok := c.transport(); ok {
		c.traced = httptrace.WithClientTrace(context.Background(), new(httptrace.ClientTrace))
		if transport.DisableCompression { // others ask for it, and undo it
			c.template.Header.Set("Accept-Encoding", "identity")
		}
	}
	return c, nil
}

// transport returns the http.Transport that sends the requests, if one does.
func (c *ClientConn) transport() (transport *http.Transport, ok bool) {
	if c.client.Transport == nil {
		transport, ok = http.DefaultTransport.(*http.Transport)
	} else {
		transport, ok = c.client.Transport.(*http.Transport)
	}
	return transport, ok
}

// newClient returns a client that follows no redirects, and whether its
// connections are ours.
func newClient(given *http.Client) (client *http.Client, own bool) {
	client = new(http.Client)
	if given != nil {
		*client = *given
	} else {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
		if standard, ok := http.DefaultTransport.(*http.Transport); ok { // the program may have put another
			transport = standard.Clone()
		}
		transport.MaxIdleConns = 0
		transport.MaxIdleConnsPerHost = maxIdle
		transport.IdleConnTimeout = idleTimeout
		transport.DisableCompression = true
		client.Transport = transport
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return client, given == nil
}

// Open implements jsonrpc2.ClientConn.
func (c *ClientConn) Open(s jsonrpc2.Settings) error {
	if c.opened.Swap(true) {
		return jsonrpc2.ErrOpened
	}
	c.maxBody = int64(s.MessageSize)
	return nil
}

// WriteRequest implements jsonrpc2.ClientConn.
func (c *ClientConn) WriteRequest(r *jsonrpc2.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.isClosing():
		return net.ErrClosed
	case c.bytes+len(r.Body) > maxWaiting:
		return fmt.Errorf("%w: %s", jsonrpc2.ErrOverloaded, c.where)
	}
	r.Keep()
	c.requests++
	c.bytes += len(r.Body)
	c.underWay[r] = struct{}{}
	select {
	case c.posts <- r:
	default:
		c.workers.Go(func() { c.work(r) })
	}
	return nil
}

// work sends one request after the other. In between it waits: a goroutine that has sent
// one already has the stack that net/http needs.
func (c *ClientConn) work(r *jsonrpc2.Request) {
	w := c.newWatch()
	for {
		c.exchange(r, w)
		if c.idle.Add(1) > maxIdleWorkers {
			c.idle.Add(-1)
			return
		}
		select {
		case r = <-c.posts:
			c.idle.Add(-1)
		case <-c.closing:
			return
		}
	}
}

// exchange sends one request, and hands its reply to ReadReply or fails it.
func (c *ClientConn) exchange(r *jsonrpc2.Request, w *watch) {
	reply, err := c.post(r, w)
	c.mu.Lock()
	c.bytes -= len(r.Body)
	delete(c.underWay, r)
	c.mu.Unlock()
	switch {
	case err != nil:
		r.Fail(err)
	case reply.Request != nil:
		select {
		case c.replies <- reply:
		case <-c.closing:
		}
	}
}

// post sends a request. It returns the Reply for the codec, or the error that the request
// fails with, or neither.
func (c *ClientConn) post(r *jsonrpc2.Request, w *watch) (reply jsonrpc2.Reply, err error) {
	header, inTime := c.headerFor(r.Deadline())
	if !inTime || r.GivenUp() { // the codec ends r at its deadline
		return reply, nil
	}
	a := c.newAttempt(r, w)
	response, err := c.do(a.httpRequest(header))
	if err != nil {
		return reply, a.failed(err)
	}
	defer response.Body.Close()
	c.unreached.Store(nil)
	return c.read(response, r)
}

// ReadReply implements jsonrpc2.ClientConn.
func (c *ClientConn) ReadReply(ctx context.Context) (jsonrpc2.Reply, error) {
	if err := ctx.Err(); err != nil {
		return jsonrpc2.Reply{}, err
	}
	select {
	case reply := <-c.replies:
		return reply, nil
	case <-ctx.Done():
		return jsonrpc2.Reply{}, ctx.Err()
	case <-c.closed:
		return jsonrpc2.Reply{}, io.EOF
	}
}

// Inquire implements jsonrpc2.ClientConn. It knows nothing, and returns nil.
func (c *ClientConn) Inquire(context.Context, []*jsonrpc2.Request) []error { return nil }

// unreachedTime is for how long Err tells of a request that did not reach the server.
const unreachedTime = 5 * time.Second

// An unreached says why a request did not reach the server.
type unreached struct {
	err   error
	until time.Time // Err tells
}

// Err implements jsonrpc2.ClientConn. For 5 s it returns why the last request got no
// response; then the next one may. It is nil if any response came, whatever its status, and
// before the first request.
func (c *ClientConn) Err() error {
	if c.isClosing() {
		return net.ErrClosed
	}
	if last := c.unreached.Load(); last != nil && time.Now().Before(last.until) {
		return last.err
	}
	return nil
}

func (c *ClientConn) isClosing() bool {
	select {
	case <-c.closing:
		return true
	default:
		return false
	}
}

// Close implements jsonrpc2.ClientConn. After 2 s it fails the requests that are still
// under way.
func (c *ClientConn) Close() error {
	c.close.Do(func() {
		c.mu.Lock()
		close(c.closing)
		c.mu.Unlock()
		timer := time.AfterFunc(closeGrace, c.failAll)
		c.workers.Wait()
		timer.Stop()
		close(c.closed)
		if c.own {
			c.client.CloseIdleConnections()
		}
	})
	return nil
}

// failAll fails the requests under way, which ends their POSTs.
func (c *ClientConn) failAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for r := range c.underWay {
		r.Fail(fmt.Errorf("%w: POST %s: the client was closed", mayHaveArrived(r), c.where))
	}
}
