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
//   - An http.Transport calls the trace when there is a connection for the request.
//     Before that nothing is sent, whatever fails: a name, a proxy, TLS.
//   - Any other RoundTripper has to read the body, which notes that: see notedBody. An
//     http.Transport does not get such a body: it would send the header before it, in a
//     packet of its own. It gets a body of a type that net/http knows.
type watch struct {
	trace httptrace.ClientTrace

	sentKnown atomic.Bool // sent can be relied on: something sets it before anything is sent
	sent      atomic.Bool // something may have been sent
	overHTTP2 atomic.Bool // the connection speaks HTTP/2
	allSent   atomic.Bool // the request was written to its end
}

// newWatch returns a watch. It can be used for one request after the other.
func (c *ClientConn) newWatch() *watch {
	w := new(watch)
	w.trace.GotConn = func(info httptrace.GotConnInfo) {
		w.sent.Store(true)
		secure, ok := info.Conn.(*tls.Conn)
		w.overHTTP2.Store(ok && secure.ConnectionState().NegotiatedProtocol == "h2")
	}
	w.trace.WroteRequest = func(info httptrace.WroteRequestInfo) { w.allSent.Store(info.Err == nil) }
	if !c.own { // a given Transport may have another protocol registered, which calls no trace
		w.trace.GetConn = func(string) { w.sentKnown.Store(true) }
	}
	return w
}

// unsent reports whether it is certain that nothing was sent.
func (w *watch) unsent() bool { return w.sentKnown.Load() && !w.sent.Load() }

// A requestContext is the context of a Request. Its AfterFunc spares package context a
// goroutine for each context that is derived from it.
type requestContext interface {
	context.Context
	AfterFunc(f func()) (stop func() bool)
}

// An attempt is a Request on its way. It is also the context of its POST: that saves making
// one for each request.
type attempt struct {
	requestContext
	request *jsonrpc2.Request

	conn   *ClientConn
	watch  *watch
	reader bytes.Reader // reads the request's body
}

// newAttempt returns an attempt to send r. w is the worker's watch. The attempt has another
// one if something of r may still use it while the worker sends the next request: a
// RoundTripper that is no http.Transport may read the body later, and a trace of the caller's
// changes the watch.
func (c *ClientConn) newAttempt(r *jsonrpc2.Request, w *watch) *attempt {
	ctx := r.Context().(requestContext)
	traced := httptrace.ContextClientTrace(ctx) != nil
	if traced || c.traced == nil {
		w = c.newWatch()
	}
	if traced { // makes our trace call the caller's, too
		httptrace.WithClientTrace(ctx, &w.trace)
	}
	w.sent.Store(false)
	w.allSent.Store(false)
	w.sentKnown.Store(c.own || c.traced == nil)
	a := &attempt{requestContext: ctx, request: r, conn: c, watch: w}
	a.reader.Reset(r.Body)
	return a
}

// Value implements context.Context. It returns our trace for the key of a trace: package
// httptrace does not export the key, so Value finds out whether traced has a value for it.
func (a *attempt) Value(key any) any {
	if a.conn.traced != nil && a.conn.traced.Value(key) != nil {
		return &a.watch.trace
	}
	return a.requestContext.Value(key)
}

// httpRequest makes the POST: a copy of the template, with this header and the body. The
// header is shared with other requests, and is cloned before anything is added to it.
func (a *attempt) httpRequest(header http.Header) *http.Request {
	c := a.conn
	r := c.template.WithContext(a)
	r.Header = header
	r.ContentLength = int64(len(a.request.Body))
	r.Body = a.body(&a.reader)
	r.GetBody = a.getBody
	shared := c.own && c.header == nil // a given Client may add its cookies
	if !shared {
		r.Header = header.Clone()
	}
	a.request.EachHeader(func(name, value string) {
		if shared {
			r.Header, shared = header.Clone(), false
		}
		r.Header.Set(name, value)
	})
	if c.header != nil {
		c.header(a, r.Header)
		forbidRepeats(r.Header)
	}
	return r
}

// body returns the body of a POST. It has what reader has.
func (a *attempt) body(reader *bytes.Reader) io.ReadCloser {
	if a.conn.traced != nil {
		return io.NopCloser(reader)
	}
	return &notedBody{reader, &a.watch.sent}
}

// errNoRepeat is the error of a request that net/http wanted to repeat.
var errNoRepeat = errors.New("not repeated: it was sent, and may have run")

// getBody is the GetBody of a POST. An http.Transport calls it to send the POST again.
// Over HTTP/1 it does so only if nothing was sent, as forbidRepeats sees to. Over HTTP/2 it
// also does so if the server has reset the stream with a protocol error. No redirect is
// followed, so nothing else calls it.
func (a *attempt) getBody() (io.ReadCloser, error) {
	if a.watch.overHTTP2.Load() && a.watch.allSent.Load() {
		return nil, errNoRepeat
	}
	if a.conn.traced != nil {
		a.watch.sent.Store(false)
	}
	return a.body(bytes.NewReader(a.request.Body)), nil
}

// forbidRepeats keeps net/http from repeating a request that has one of these headers, which
// says that the request is idempotent. net/http looks for this spelling alone; for a server
// the spelling does not matter.
func forbidRepeats(header http.Header) {
	for _, name := range [...]string{"Idempotency-Key", "X-Idempotency-Key"} {
		if values, ok := header[name]; ok {
			delete(header, name)
			header[strings.ToLower(name)] = values
		}
	}
}

// A notedBody is a body that notes when it is read.
type notedBody struct {
	reader *bytes.Reader
	read   *atomic.Bool // set by the first Read
}

func (b *notedBody) Read(p []byte) (int, error) {
	b.read.Store(true)
	return b.reader.Read(p)
}

func (b *notedBody) Close() error { return nil }

// failed returns the error of the request for an error of net/http. Its sentinel says whether
// the request may have arrived. failed also notes the error for Err, unless the caller gave
// up: that says nothing about the server. But if nothing could be sent until the deadline,
// the error is noted, too.
func (a *attempt) failed(err error) error {
	var wrapped *url.Error // it quotes the whole URL, with its secrets
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	unsent := a.watch.unsent()
	what := mayHaveArrived(a.request)
	switch {
	case unsent:
		what = jsonrpc2.ErrUnavailable
	case errors.Is(err, context.DeadlineExceeded) && !a.request.IsNotification(): // of the given Client's Timeout
		what = jsonrpc2.ErrTimeout
	}
	err = fmt.Errorf("%w: POST %s: %w", what, a.conn.where, err)
	if !a.request.GivenUp() || unsent && errors.Is(a.Err(), context.DeadlineExceeded) {
		a.conn.unreached.Store(&unreached{err, time.Now().Add(unreachedTime)})
	}
	return err
}

// mayHaveArrived returns the sentinel for a request that may have arrived.
func mayHaveArrived(r *jsonrpc2.Request) error {
	if r.IsNotification() {
		return jsonrpc2.ErrUnconfirmed
	}
	return jsonrpc2.ErrReplyLost
}

// A timedHeader is the header of requests that have so many milliseconds left until their
// deadline. It is not changed once it is made.
type timedHeader struct {
	milliseconds int64
	header       http.Header
}

// headerFor returns the header of a request with a deadline, zero for none. Requests share
// the header: most that are sent within one millisecond have the same time left. inTime is
// false if the deadline is over. The milliseconds are rounded up, so that 0 is never sent.
func (c *ClientConn) headerFor(deadline time.Time) (header http.Header, inTime bool) {
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
