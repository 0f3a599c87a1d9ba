package httpconn

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

// A watch learns whether anything of a request may have been sent:
//
//   - From an http.Transport it learns when there is a connection for the request.
//     Before that nothing is sent, whatever fails: a name, a proxy, TLS.
//   - Any other RoundTripper has to read the body, which notes it. An
//     http.Transport sends the header of such a body in a packet of its own,
//     so its requests have a body that net/http knows.
type watch struct {
	trace httptrace.ClientTrace

	known atomic.Bool // whether anything was sent is known
	sent  atomic.Bool // something may have been
	multi atomic.Bool // over HTTP/2
	whole atomic.Bool // all of it was
}

// newWatch returns a watch of one request after the other.
func (c *Conn) newWatch() *watch {
	w := new(watch)
	w.trace.GotConn = func(info httptrace.GotConnInfo) {
		w.sent.Store(true)
		secure, ok := info.Conn.(*tls.Conn)
		w.multi.Store(ok && secure.ConnectionState().NegotiatedProtocol == "h2")
	}
	w.trace.WroteRequest = func(info httptrace.WroteRequestInfo) { w.whole.Store(info.Err == nil) }
	if !c.own { // it may have another protocol registered, which traces nothing
		w.trace.GetConn = func(string) { w.known.Store(true) }
	}
	return w
}

func (w *watch) unsent() bool { return w.known.Load() && !w.sent.Load() }

// An attempt is a request on its way, and the context that it is made under.
type attempt struct {
	context.Context                 // ends the request
	values          context.Context // the call's

	conn   *Conn
	watch  *watch
	body   []byte
	reader bytes.Reader // of body
}

// newAttempt returns an attempt under ctx, with the values of call. The watch is
// that of the goroutine's requests.
func (c *Conn) newAttempt(ctx, call context.Context, w *watch, body []byte) *attempt {
	traced := httptrace.ContextClientTrace(call) != nil
	if traced || c.traced == nil { // what else reads the body may do so until later
		w = c.newWatch()
	}
	if traced { // by the caller: ours then calls theirs, too
		httptrace.WithClientTrace(call, &w.trace)
	}
	w.sent.Store(false)
	w.whole.Store(false)
	w.known.Store(c.own || c.traced == nil)
	a := &attempt{Context: ctx, values: call, conn: c, watch: w, body: body}
	a.reader.Reset(body)
	return a
}

// Value returns the trace, or a value of either context.
func (a *attempt) Value(key any) any {
	if a.conn.traced != nil && a.conn.traced.Value(key) != nil {
		return &a.watch.trace
	}
	if value := a.Context.Value(key); value != nil {
		return value
	}
	return a.values.Value(key)
}

// request makes the request from the one that all are copies of.
func (a *attempt) request(header http.Header) *http.Request {
	c := a.conn
	r := c.template.WithContext(a)
	r.Header = header
	r.ContentLength = int64(len(a.body))
	r.Body = a.open(&a.reader)
	r.GetBody = a.reopen
	if !c.own || c.header != nil { // a Client adds its cookies
		r.Header = header.Clone()
	}
	if c.header != nil {
		c.header(a, r.Header)
		once(r.Header)
	}
	return r
}

func (a *attempt) open(reader *bytes.Reader) io.ReadCloser {
	if a.conn.traced != nil {
		return io.NopCloser(reader)
	}
	return &notedBody{reader, &a.watch.sent}
}

// errNoRepeat is what a request fails with that net/http would have repeated.
var errNoRepeat = errors.New("not repeated: it was sent, and may have run")

// reopen is the request's GetBody, which an http.Transport calls to try again: we
// follow no redirects. Over HTTP/1 it does so when nothing was sent, see once. Over
// HTTP/2 it does so, too, when the server has reset the stream with a protocol error.
func (a *attempt) reopen() (io.ReadCloser, error) {
	if a.watch.multi.Load() && a.watch.whole.Load() {
		return nil, errNoRepeat
	}
	if a.conn.traced != nil {
		a.watch.sent.Store(false)
	}
	return a.open(bytes.NewReader(a.body)), nil
}

// once keeps net/http from repeating a request that it takes for idempotent by
// these headers, which it knows by this spelling alone.
func once(header http.Header) {
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := header[name]; ok {
			delete(header, name)
			header[strings.ToLower(name)] = values
		}
	}
}

// A notedBody notes that it is read.
type notedBody struct {
	reader *bytes.Reader
	read   *atomic.Bool
}

func (b *notedBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.reader.Read(p)
}

func (b *notedBody) Close() error { return nil }

// failed makes an error of one of net/http's, which says whether the request may
// have arrived.
func (a *attempt) failed(err error) error {
	var wrapped *url.Error // which quotes the whole URL
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	what := jsonrpc2.ErrReplyLost
	switch {
	case errors.Is(a.Err(), context.DeadlineExceeded): // the call's own
		what = jsonrpc2.ErrTimeout
	case a.watch.unsent():
		what = jsonrpc2.ErrUnavailable
	case errors.Is(err, context.DeadlineExceeded): // the given Client's Timeout
		what = jsonrpc2.ErrTimeout
	}
	return fmt.Errorf("%w: POST %s: %w", what, a.conn.where, err)
}

// under returns a context that ends with the call's, soon after its deadline,
// and when the Conn is closed.
func (c *Conn) under(call context.Context) (context.Context, func()) {
	ended := call.Done() != nil // by its caller, at any time
	deadline, limited := call.Deadline()
	switch {
	case !ended && limited: // most calls
		return c.until(deadline), func() {}
	case !ended:
		return c.ctx, func() {}
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
	milliseconds := int64((left-1)/time.Millisecond) + 1
	timed := c.timed.Load()
	if timed == nil || timed.milliseconds != milliseconds {
		timed = &timedHeader{milliseconds, maps.Clone(c.template.Header)}
		timed.header[TimeoutHeader] = []string{strconv.FormatInt(milliseconds, 10)}
		c.timed.Store(timed)
	}
	return timed.header, nil
}
