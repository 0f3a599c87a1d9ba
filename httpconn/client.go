package httpconn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
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
	where  string // the URL as it may be shown
	err    error  // a bad option
	client *http.Client
	own    bool // client is ours to close
	do     func(*http.Request) (*http.Response, error)

	template *http.Request // that all requests are copies of
	timed    atomic.Pointer[timedHeader]
	header   func(context.Context, http.Header)
	maxBody  int64
	answers  chan jsonrpc2.Message
	posts    chan post // to the workers that are idle

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
	c.template, c.where, c.err = newTemplate(url)
	c.client, c.own = newClient(opts.Client)
	c.do = c.client.Do
	if c.own { // which needs nothing of what a Client does beyond
		c.do = c.client.Transport.RoundTrip
	}
	return c
}

// newTemplate returns the request that all are copies of, and the URL as it may
// be shown: without user, password and query.
func newTemplate(text string) (template *http.Request, where string, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, "", fmt.Errorf("%w: bad URL: want http://host/path or https://", jsonrpc2.ErrUnavailable)
	}
	where = u.Scheme + "://" + u.Host + u.Path
	template, err = http.NewRequest(http.MethodPost, text, nil)
	if err != nil {
		return nil, "", fmt.Errorf("%w: bad URL: %s", jsonrpc2.ErrUnavailable, where)
	}
	template.Header.Set("Content-Type", "application/json")
	template.Header.Set("Accept", "application/json")
	if u.User != nil {
		password, _ := u.User.Password()
		template.SetBasicAuth(u.User.Username(), password)
	}
	return template, where, nil
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
	for {
		c.exchange(p.ctx, p.body)
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

// exchange makes one request and hands its answer to ReadMessage.
func (c *Conn) exchange(call context.Context, request []byte) {
	ctx, cancel := c.under(call)
	answer, err := c.post(ctx, call, request)
	cancel()
	c.mu.Lock()
	c.bytes -= len(request)
	c.mu.Unlock()
	msg := jsonrpc2.Message{Body: answer, Request: request, Missing: errNoResponse, Reply: noReply}
	switch {
	case err != nil && call.Err() != nil: // nobody waits for it any more
		return
	case err != nil:
		msg = jsonrpc2.Message{Body: request, Err: err}
	case answer == nil: // none is due
		return
	}
	select {
	case c.answers <- msg:
	case <-c.closed:
	}
}

// errNoResponse ends a call that its answer holds no response to.
var errNoResponse = fmt.Errorf("%w: no response to this call", jsonrpc2.ErrBadReply)

// noReply is an answer's: it has none of its own.
func noReply([]byte) error { return nil }

// under returns a context that ends with the call's, soon after its deadline,
// and when the Conn is closed.
func (c *Conn) under(call context.Context) (context.Context, func()) {
	ended := call.Done() != nil // by its caller, at any time
	deadline, limited := call.Deadline()
	switch {
	case !ended && limited: // most calls
		return valued{c.until(deadline), call}, func() {}
	case !ended:
		return valued{c.ctx, call}, func() {}
	}
	var ctx context.Context
	var cancel context.CancelFunc
	if limited { // by the codec, too
		ctx, cancel = context.WithDeadline(call, deadline)
	} else {
		ctx, cancel = context.WithCancel(call)
	}
	stop := context.AfterFunc(c.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// until returns a context that ends at a deadline or up to a second later, when
// nobody waits for the answer any more: one for many requests, as timers cost.
func (c *Conn) until(deadline time.Time) context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.window != nil {
		end, _ := c.window.Deadline()
		if late := end.Sub(deadline); 0 <= late && late <= time.Second {
			return c.window
		}
	}
	c.window, c.endWindow = context.WithDeadline(c.ctx, deadline.Add(time.Second))
	return c.window
}

// A valued is a context with the values of another.
type valued struct {
	context.Context
	values context.Context
}

func (v valued) Value(key any) any {
	if value := v.Context.Value(key); value != nil {
		return value
	}
	return v.values.Value(key)
}

// request makes the request from the one that all are copies of.
func (c *Conn) request(ctx context.Context, header http.Header, body []byte) *http.Request {
	r := c.template.WithContext(ctx)
	r.Header = header
	r.ContentLength = int64(len(body))
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	if !c.own || c.header != nil { // a Client adds its cookies
		r.Header = header.Clone()
	}
	if c.header != nil {
		c.header(ctx, r.Header)
	}
	return r
}

// A timedHeader is the header of the requests that have so long.
type timedHeader struct {
	milliseconds int64
	header       http.Header
}

// headerFor returns the header of a call's request, which others share: those
// that are sent one soon after the other mostly have as long.
func (c *Conn) headerFor(call context.Context) (http.Header, error) {
	deadline, ok := call.Deadline()
	if !ok {
		return c.template.Header, nil
	}
	left := time.Until(deadline)
	if left <= 0 {
		return nil, context.DeadlineExceeded
	}
	milliseconds := int64((left + time.Millisecond - 1) / time.Millisecond)
	timed := c.timed.Load()
	if timed == nil || timed.milliseconds != milliseconds {
		timed = &timedHeader{milliseconds, maps.Clone(c.template.Header)}
		timed.header[TimeoutHeader] = []string{strconv.FormatInt(milliseconds, 10)}
		c.timed.Store(timed)
	}
	return timed.header, nil
}

// post returns the body of the answer, nil if there is none and none is due.
func (c *Conn) post(ctx, call context.Context, request []byte) ([]byte, error) {
	header, err := c.headerFor(call)
	if err != nil {
		return nil, c.requestError(err)
	}
	response, err := c.do(c.request(ctx, header, request))
	if err != nil {
		return nil, c.requestError(err)
	}
	defer response.Body.Close()
	body, err := readBody(response.Body, response.ContentLength, c.maxBody+1)
	if failed := c.check(response, body, err); failed != nil {
		if header, _ := jsonrpc2.ScanHeader(request); !header.Answer && response.StatusCode/100 == 2 {
			return nil, nil
		}
		return nil, failed
	}
	return body, nil
}

// check returns an error unless a response, whose body was read with err, brings
// an answer.
func (c *Conn) check(response *http.Response, body []byte, err error) error {
	switch {
	case response.StatusCode != http.StatusOK:
		return c.statusError(response)
	case err != nil:
		return c.failed(jsonrpc2.ErrReplyLost, fmt.Sprintf("the body was cut off: %v", err))
	case int64(len(body)) > c.maxBody:
		return c.failed(jsonrpc2.ErrTooLarge, fmt.Sprintf("the reply exceeds the limit of %d bytes", c.maxBody))
	case len(bytes.TrimSpace(body)) == 0:
		return c.failed(jsonrpc2.ErrBadReply, "the body is empty")
	case !saysJSON(response.Header.Get("Content-Type")):
		return c.failed(jsonrpc2.ErrBadReply, fmt.Sprintf("its type is %.100q, not application/json", response.Header.Get("Content-Type")))
	}
	return nil
}

// saysJSON reports whether a content type is JSON's, or says nothing.
func saysJSON(contentType string) bool {
	if contentType == "" || contentType == "application/json" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && isJSON(media)
}

func (c *Conn) failed(what error, why string) error {
	return fmt.Errorf("%w: POST %s: %s", what, c.where, why)
}

// requestError says whether a request that failed may have arrived.
func (c *Conn) requestError(err error) error {
	var wrapped *url.Error // which quotes the whole URL
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	what := jsonrpc2.ErrReplyLost
	var op *net.OpError
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect"), errors.As(err, &certificate):
		what = jsonrpc2.ErrUnavailable
	case errors.Is(err, context.DeadlineExceeded):
		what = jsonrpc2.ErrTimeout
	}
	return fmt.Errorf("%w: POST %s: %w", what, c.where, err)
}

// statusError makes an error of a status that is no answer.
func (c *Conn) statusError(response *http.Response) error {
	what := jsonrpc2.ErrBadReply
	why := response.Status
	switch response.StatusCode {
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		what = jsonrpc2.ErrOverloaded
	case http.StatusNotFound:
		what = jsonrpc2.ErrNoServer
	case http.StatusRequestEntityTooLarge:
		what = jsonrpc2.ErrTooLarge
	}
	if response.StatusCode/100 == 3 {
		why += ", a redirect, which is not followed"
	}
	return c.failed(what, why)
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

// readBody reads up to limit bytes, in one go where it is known how many there
// are.
func readBody(r io.Reader, length, limit int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(io.LimitReader(r, limit))
	}
	body := make([]byte, min(length, limit))
	n, err := io.ReadFull(r, body)
	return body[:n], err
}
