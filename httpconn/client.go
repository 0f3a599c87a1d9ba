package httpconn

import (
	"cmp"
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
	// MaxInFlight limits the requests that are sent and have no answer; 320 if 0. By
	// default a server runs 256 at once, and so has the next ones at hand. Further requests
	// wait, in their order. A call whose deadline comes first fails with ErrTimeout and
	// ErrNotRun. Set MaxInFlight higher if the URL leads to several servers. Over HTTP/1
	// each request takes a connection.
	MaxInFlight int

	// Client makes the requests. If nil, the ClientConn has a client of its own, which
	// keeps up to MaxInFlight idle connections. Redirects are not followed: a call that is
	// redirected fails. If the Timeout of Client ends a call, its error depends on what it
	// waited for:
	//
	//	ErrUnavailable  for a connection: nothing was sent
	//	ErrTimeout      for the response
	//	ErrReplyLost    for the rest of the body
	Client *http.Client

	// Header, if set, may add to the header of each request, for example a bearer token
	// or the trace context in the caller's ctx. For a batch, ctx has the values of its
	// first call's ctx. Several goroutines may call Header at once.
	Header func(ctx context.Context, header http.Header)
}

const (
	defaultMaxInFlight = jsonrpc2.DefaultMaxInFlight * 5 / 4

	idleTimeout    = 90 * time.Second // how long an unused connection is kept
	maxIdleWorkers = 64
)

// A ClientConn calls the server at a URL. Dial makes it; give it to one codec, as
// jsonrpc2.NewClient does. The codec calls and closes it. Any goroutine may call Err and
// Stats.
//
// Each request is one POST on the goroutine of a worker. MaxInFlight workers at most have a
// request; a few more wait for one. The POST ends when the request ends. Close waits for the
// workers.
type ClientConn struct {
	target

	client *http.Client
	own    bool                                        // Dial made client
	do     func(*http.Request) (*http.Response, error) // sends a request with client

	traced  context.Context             // has a trace; nil if net/http does not send the requests, see watch
	timed   atomic.Pointer[timedHeader] // that of the last request with a deadline
	header  func(context.Context, http.Header)
	maxBody int64               // set by Open
	replies chan jsonrpc2.Reply // workers send to it, ReadReply receives
	pending *pending

	opened    atomic.Bool
	unreached atomic.Pointer[unreached] // set when a request gets no response, nil again after a response
	close     sync.Once
	closing   chan struct{} // closed by Close at first: no request is accepted, no answer wanted
	closed    chan struct{} // closed by Close when the workers have ended

	workers sync.WaitGroup
	idle    atomic.Int64           // workers that wait for a request
	handed  chan *jsonrpc2.Request // has no room: an idle worker receives its next request
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
	if opts.MaxInFlight < 0 {
		return nil, fmt.Errorf("httpconn: POST %s: MaxInFlight is %d, less than 0", target.where, opts.MaxInFlight)
	}
	atOnce := cmp.Or(opts.MaxInFlight, defaultMaxInFlight)
	c := &ClientConn{
		target:  target,
		header:  opts.Header,
		maxBody: jsonrpc2.DefaultMaxMessageSize,
		replies: make(chan jsonrpc2.Reply),
		closing: make(chan struct{}),
		closed:  make(chan struct{}),
		handed:  make(chan *jsonrpc2.Request),
	}
	c.pending = newPending(atOnce, c.start)
	c.client, c.own = newClient(opts.Client, atOnce)
	c.do = c.client.Do
	if c.own { // such a client has no cookies, no Timeout, and follows no redirects
		c.do = c.client.Transport.RoundTrip
	}
	if transport, ok := c.transport(); ok {
		c.traced = httptrace.WithClientTrace(context.Background(), new(httptrace.ClientTrace))
		if transport.DisableCompression { // else the Transport asks for gzip, and undoes it
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

// newClient returns a client that follows no redirects: a copy of given or, if given is nil,
// one of our own, which keeps up to so many idle connections.
func newClient(given *http.Client, idle int) (client *http.Client, own bool) {
	client = new(http.Client)
	if given != nil {
		*client = *given
	} else {
		transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
		if standard, ok := http.DefaultTransport.(*http.Transport); ok { // unless the program has replaced it
			transport = standard.Clone()
		}
		transport.MaxIdleConns = 0 // no limit
		transport.MaxIdleConnsPerHost = idle
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
	if err := c.pending.add(r); err != nil {
		return fmt.Errorf("%w: %s", err, c.where)
	}
	return nil
}

// start hands a request to an idle worker or else to a new one.
func (c *ClientConn) start(r *jsonrpc2.Request) {
	select {
	case c.handed <- r:
	default:
		c.workers.Go(func() { c.work(r) })
	}
}

// work is a worker: it sends one request after the other. When there is none it waits, if few
// others do: a goroutine that has sent a request already has the stack that net/http needs.
func (c *ClientConn) work(r *jsonrpc2.Request) {
	w := c.newWatch()
	for {
		c.exchange(r, w)
		if r = c.pending.next(); r != nil {
			continue
		}
		if c.idle.Add(1) > maxIdleWorkers {
			c.idle.Add(-1)
			return
		}
		select {
		case r = <-c.handed:
			c.idle.Add(-1)
		case <-c.closing:
			return
		}
	}
}

// exchange sends one request, and hands its reply to ReadReply or fails it.
func (c *ClientConn) exchange(r *jsonrpc2.Request, w *watch) {
	reply, err := c.post(r, w)
	c.pending.end(r)
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

// post sends a request and reads the response. It returns the Reply for the codec, or the
// error that the request fails with. It returns neither if the request has ended.
func (c *ClientConn) post(r *jsonrpc2.Request, w *watch) (reply jsonrpc2.Reply, err error) {
	header, inTime := c.headerFor(r.Deadline())
	if !inTime || !c.pending.begin(r) { // the codec has ended r, or does so now
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

// Inquire implements jsonrpc2.ClientConn. It finds out which requests were not sent.
func (c *ClientConn) Inquire(_ context.Context, requests []*jsonrpc2.Request) []error {
	return c.pending.notRun(requests)
}

// unreachedTime is how long Err reports that a request got no response.
const unreachedTime = 5 * time.Second

// An unreached says why a request got no response.
type unreached struct {
	err   error
	until time.Time // when Err no longer reports it
}

// Err implements jsonrpc2.ClientConn. If the last request got no response, Err returns the
// reason for 5 s; after that only another request can tell. Err is nil if any response came,
// whatever its status, and before the first request.
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
		c.pending.close()
		close(c.closing)
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

// failAll fails the requests that are left, which ends their POSTs.
func (c *ClientConn) failAll() {
	c.pending.failAll(func(r *jsonrpc2.Request, f fate) error {
		sentinel := mayHaveArrived(r)
		if f == waits {
			sentinel = jsonrpc2.ErrUnavailable
		}
		return fmt.Errorf("%w: POST %s: the client was closed", sentinel, c.where)
	})
}
