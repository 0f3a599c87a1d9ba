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
func (c *ClientConn) newWatch() *watch {
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

// A requestContext is the context of a Request. Package context needs no goroutine to
// wait for one that has an AfterFunc.
type requestContext interface {
	context.Context
	AfterFunc(f func()) (stop func() bool)
}

// An attempt is a Request on its way. It is the context of its POST, too.
type attempt struct {
	requestContext
	request *jsonrpc2.Request

	conn   *ClientConn
	watch  *watch
	reader bytes.Reader // of the request's body
}

// newAttempt returns an attempt to send r. The watch is that of the goroutine's
// requests.
func (c *ClientConn) newAttempt(r *jsonrpc2.Request, w *watch) *attempt {
	ctx := r.Context().(requestContext)
	traced := httptrace.ContextClientTrace(ctx) != nil
	if traced || c.traced == nil { // what else reads the body may do so until later
		w = c.newWatch()
	}
	if traced { // by the caller: ours then calls theirs, too
		httptrace.WithClientTrace(ctx, &w.trace)
	}
	w.sent.Store(false)
	w.whole.Store(false)
	w.known.Store(c.own || c.traced == nil)
	a := &attempt{requestContext: ctx, request: r, conn: c, watch: w}
	a.reader.Reset(r.Body)
	return a
}

// Value returns the trace, or a value of the caller's context.
func (a *attempt) Value(key any) any {
	if a.conn.traced != nil && a.conn.traced.Value(key) != nil {
		return &a.watch.trace
	}
	return a.requestContext.Value(key)
}

// httpRequest makes the POST from the one that all are copies of.
func (a *attempt) httpRequest(header http.Header) *http.Request {
	c := a.conn
	r := c.template.WithContext(a)
	r.Header = header
	r.ContentLength = int64(len(a.request.Body))
	r.Body = a.open(&a.reader)
	r.GetBody = a.reopen
	if !c.own || c.header != nil { // a Client adds its cookies
		r.Header = header.Clone()
	}
	if c.header != nil {
		c.header(a, r.Header)
		forbidRepeats(r.Header)
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
	return a.open(bytes.NewReader(a.request.Body)), nil
}

// forbidRepeats keeps net/http from repeating a request that it takes for idempotent by
// these headers, which it knows by this spelling alone.
func forbidRepeats(header http.Header) {
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
	unsent := a.watch.unsent()
	what := mayHaveArrived(a.request)
	switch {
	case unsent:
		what = jsonrpc2.ErrUnavailable
	case errors.Is(err, context.DeadlineExceeded) && !a.request.IsNotification(): // the given Client's Timeout
		what = jsonrpc2.ErrTimeout
	}
	err = fmt.Errorf("%w: POST %s: %w", what, a.conn.where, err)
	if !a.request.GivenUp() || unsent && errors.Is(a.Err(), context.DeadlineExceeded) {
		a.conn.unreached.Store(&err)
	}
	return err
}

// mayHaveArrived returns the sentinel for a request of which no more is known.
func mayHaveArrived(r *jsonrpc2.Request) error {
	if r.IsNotification() {
		return jsonrpc2.ErrUnconfirmed
	}
	return jsonrpc2.ErrReplyLost
}

// A timedHeader is the header of the requests that have so long.
type timedHeader struct {
	milliseconds int64
	header       http.Header
}

// headerFor returns the header of a request with such a deadline, which others share:
// those that are sent one soon after the other mostly have as long. It is false when
// the deadline is over.
func (c *ClientConn) headerFor(deadline time.Time) (http.Header, bool) {
	if deadline.IsZero() {
		return c.template.Header, true
	}
	left := time.Until(deadline)
	if left <= 0 {
		return nil, false
	}
	milliseconds := int64((left-1)/time.Millisecond) + 1
	timed := c.timed.Load()
	if timed == nil || timed.milliseconds != milliseconds {
		timed = &timedHeader{milliseconds, maps.Clone(c.template.Header)}
		timed.header[TimeoutHeader] = []string{strconv.FormatInt(milliseconds, 10)}
		c.timed.Store(timed)
	}
	return timed.header, true
}
