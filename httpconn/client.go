package httpconn

import (
	"bytes"
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
	// Client makes the requests; one of our own if nil, with a connection kept
	// alive for each of up to 512 concurrent calls. Its redirects are not
	// followed: a call that is redirected fails.
	Client *http.Client

	// Header, if set, adds to the header of each request: a bearer token, the
	// trace context that the caller's ctx carries. For a batch that is the ctx
	// of its first call.
	Header func(ctx context.Context, header http.Header)
}

const (
	maxWaiting  = 16 << 20 // bytes of requests under way
	maxIdle     = 512      // connections
	idleTimeout = 90 * time.Second

	maxIdleWorkers = 64
)

// A Conn is a calling jsonrpc2.Conn: each message is one POST, on a goroutine
// that has no other meanwhile. Close awaits them all.
type Conn struct {
	target
	err error // a bad option

	client *http.Client
	own    bool // client is ours to close
	do     func(*http.Request) (*http.Response, error)

	traced  context.Context // has a trace if the requests can have one, see watch
	timed   atomic.Pointer[timedHeader]
	header  func(context.Context, http.Header)
	maxBody int64
	answers chan jsonrpc2.Message
	posts   chan post // to the workers that are idle

	closing sync.Once
	closed  chan struct{}   // no answer is wanted any more
	ctx     context.Context // of all requests
	cancel  context.CancelFunc

	mu        sync.Mutex // protects following
	shut      bool
	bytes     int
	window    context.Context // of the requests that need no other, see until
	endWindow context.CancelFunc

	workers sync.WaitGroup
	idle    atomic.Int64 // workers
}

var (
	_ jsonrpc2.Conn    = (*Conn)(nil)
	_ jsonrpc2.Limiter = (*Conn)(nil)
)

// Dial returns a Conn that calls the server at url. It connects with the first
// call. A bad URL fails every call.
func Dial(url string, opts *DialOptions) *Conn {
	if opts == nil {
		opts = &DialOptions{}
	}
	c := &Conn{
		header:  opts.Header,
		maxBody: jsonrpc2.DefaultMaxMessageSize,
		answers: make(chan jsonrpc2.Message),
		posts:   make(chan post),
		closed:  make(chan struct{}),
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.client, c.own = newClient(opts.Client)
	c.do = c.client.Do
	if c.own { // which needs nothing of what a Client does beyond
		c.do = c.client.Transport.RoundTrip
	}
	c.target, c.err = newTarget(url)
	if transport, ok := c.transport(); ok && c.err == nil {
		c.traced = httptrace.WithClientTrace(context.Background(), new(httptrace.ClientTrace))
		if transport.DisableCompression { // others ask for it, and undo it
			c.template.Header.Set("Accept-Encoding", "identity")
		}
	}
	return c
}

// transport returns what sends the requests, if it is net/http's own.
func (c *Conn) transport() (transport *http.Transport, ok bool) {
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

// SetLimits implements jsonrpc2.Limiter.
func (c *Conn) SetLimits(l jsonrpc2.Limits) { c.maxBody = int64(l.MessageSize) }

// WriteMessage implements jsonrpc2.Conn.
func (c *Conn) WriteMessage(ctx context.Context, body []byte) error {
	if c.err != nil {
		return c.err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.shut:
		return net.ErrClosed
	case c.bytes+len(body) > maxWaiting:
		return fmt.Errorf("%w: %s", jsonrpc2.ErrOverloaded, c.where)
	}
	c.bytes += len(body)
	request := bytes.Clone(body)
	p := post{ctx, request}
	select {
	case c.posts <- p:
	default:
		c.workers.Go(func() { c.work(p) })
	}
	return nil
}

// A post is one request to make.
type post struct {
	ctx  context.Context // of its call
	body []byte
}

// work makes one request after the other, and waits in between: net/http needs
// more stack than a new goroutine has.
func (c *Conn) work(p post) {
	w := c.newWatch()
	for {
		c.exchange(p.ctx, p.body, w)
		if c.idle.Add(1) > maxIdleWorkers {
			c.idle.Add(-1)
			return
		}
		select {
		case p = <-c.posts:
			c.idle.Add(-1)
		case <-c.closed:
			return
		}
	}
}

// exchange makes one request and hands what came of it to ReadMessage.
func (c *Conn) exchange(call context.Context, request []byte, w *watch) {
	ctx, cancel := c.under(call)
	msg, due := c.post(c.newAttempt(ctx, call, w, request))
	cancel()
	c.mu.Lock()
	c.bytes -= len(request)
	c.mu.Unlock()
	if !due || msg.Err != nil && call.Err() != nil { // nobody waits for it any more
		return
	}
	select {
	case c.answers <- msg:
	case <-c.closed:
	}
}

// post makes a request. It returns what the codec is to learn of it: false if
// there is nothing.
func (c *Conn) post(a *attempt) (msg jsonrpc2.Message, due bool) {
	header, err := c.headerFor(a.values)
	if err != nil {
		return jsonrpc2.Message{Body: a.body, Err: a.failed(err)}, true
	}
	response, err := c.do(a.request(header))
	if err != nil {
		return jsonrpc2.Message{Body: a.body, Err: a.failed(err)}, true
	}
	defer response.Body.Close()
	return c.read(response, a.body)
}

// ReadMessage implements jsonrpc2.Conn.
func (c *Conn) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	if err := ctx.Err(); err != nil {
		return jsonrpc2.Message{}, err
	}
	select {
	case msg := <-c.answers:
		return msg, nil
	case <-ctx.Done():
		return jsonrpc2.Message{}, ctx.Err()
	case <-c.closed:
		return jsonrpc2.Message{}, io.EOF
	}
}

// Close implements jsonrpc2.Conn.
func (c *Conn) Close() error {
	c.closing.Do(func() {
		c.mu.Lock()
		c.shut = true
		c.mu.Unlock()
		close(c.closed)
		timer := time.AfterFunc(closeGrace, c.cancel)
		c.workers.Wait()
		timer.Stop()
		c.cancel()
		if c.endWindow != nil {
			c.endWindow()
		}
		if c.own {
			c.client.CloseIdleConnections()
		}
	})
	return nil
}
