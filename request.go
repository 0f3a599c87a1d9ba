package jsonrpc2

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A Request is for those who write a transport: a call, a notification or a batch that a
// ClientConn sends. It ends once, by what comes first: its answer, Sent for a
// notification, Fail, the deadline, or its caller, who gives it up.
//
// Any goroutine may call its methods at any time and any number of times, also inside
// WriteRequest, after the end, and with locks held: they never block and never call a
// Conn. Only Keep must be called inside WriteRequest, on its goroutine.
type Request struct {
	// Body is the message. It is valid until WriteRequest returns, or for good after
	// Keep. Nobody changes it.
	Body []byte

	// Handle is for what the Conn keeps about the Request. It is nil until the Conn
	// sets it, inside WriteRequest. A Conn that passes the same Request on to another
	// Conn leaves Handle to that one.
	Handle any

	owner    owner
	ctx      context.Context         // the caller's
	deadline time.Time               // as it travels; zero: none
	message  atomic.Pointer[Request] // what a Batch has sent it as: r itself or a batch; nil: nothing yet
	kept     bool                    // Body stays valid for good
	end      atomic.Int32            // how it has ended; changes once, in finish

	mu       sync.Mutex // protects following
	watchers *watchers  // nil: none
}

// How a request has ended.
const (
	underWay int32 = iota
	canceled       // or answered, or failed
	overdue
)

// endErrors has the error of a request's context for each way to end.
var endErrors = [...]error{underWay: nil, canceled: context.Canceled, overdue: context.DeadlineExceeded}

// watchers are what finish tells that a request has ended. Most requests have none.
type watchers struct {
	done   chan struct{} // closed when the request has ended; nil: nobody has called Done
	after  []*func()     // called when it has ended, each on a goroutine of its own
	wholes []whole       // that it is a part of

	one [1]*func() // the memory of after, most often enough
}

// A whole is a Request that others are parts of.
type whole interface {
	// partEnded says that a part has ended. It is called once for each part, with the
	// locks of the part's codec held.
	partEnded(end int32)
}

// An owner is what a Request belongs to: a pendingCall of the codec, a joined request, a try of
// a Retry, or a standalone request. Like the methods of Request, its methods never block.
type owner interface {
	sent()
	fail(err error)
	isNotification() bool
	hasNotification() bool
	id() string
}

// Keep replaces Body by a copy that stays valid. A second Keep does nothing.
func (r *Request) Keep() {
	if !r.kept {
		r.Body, r.kept = bytes.Clone(r.Body), true
	}
}

// Sent says that the broker or the peer has r, as far as the Conn can know: Redis has
// answered the push, RabbitMQ has confirmed the message, the Write of the stream has
// returned, or HTTP has answered. Sent ends a notification, and does nothing for a call.
func (r *Request) Sent() { r.owner.sent() }

// Fail ends r with an error. The text of the error begins with that of a sentinel:
//
//   - ErrUnavailable, ErrNoServer, ErrOverloaded, ErrTooLarge: r did certainly not run;
//   - ErrUnconfirmed: r may have been sent. This ends only the notifications in r: its
//     calls still wait for their answers;
//   - ErrReplyLost: r may have run, and its answer can no longer come;
//   - ErrTimeout: a limit of the Conn's own is over; r may have run;
//   - ErrBadReply: what came as the answer is none;
//   - ErrReplyTooLarge: what came as the answer exceeds a limit.
//
// An error that begins with none of them stands for an ErrReplyLost. Do not call Fail for
// a call that may have been sent and may still be answered.
func (r *Request) Fail(err error) { r.owner.fail(err) }

// GivenUp reports whether r has ended, in whatever way. It need not be sent then.
func (r *Request) GivenUp() bool { return r.end.Load() != underWay }

// Deadline returns the time until which the caller waits for the answer. The Conn sends
// it with r. It is zero if there is no limit, and for a notification, which may run at
// any time. The Context of a notification still ends with the client's Timeout.
func (r *Request) Deadline() time.Time { return r.deadline }

// Context returns a context with the values of the caller's. It is done when r has ended:
// its Err is then context.DeadlineExceeded after the deadline or the client's Timeout,
// else context.Canceled. It is cheap: it needs no timer, no memory before Done is called,
// and no goroutine for a context that is derived from it.
func (r *Request) Context() context.Context { return (*requestContext)(r) }

// IsNotification reports whether no answer is due: to r, or to any item of a batch.
func (r *Request) IsNotification() bool { return r.owner.isNotification() }

// HasNotification reports whether r is a notification, or a batch that has one among its
// items. Sent ends the notifications in r.
func (r *Request) HasNotification() bool { return r.owner.hasNotification() }

// EachHeader calls f with each header that the message of r should have, if its transport
// has headers: traceparent, tracestate and baggage, where they are in the metadata of r. A
// batch has none.
func (r *Request) EachHeader(f func(name, value string)) {
	switch o := r.owner.(type) {
	case *joined:
		return
	case *try:
		o.of.request.EachHeader(f)
		return
	}
	meta := metaOf(r.ctx)
	for _, names := range traceHeaders {
		if meta[names[0]] == "" {
			continue
		}
		for _, name := range names {
			if value := meta[name]; value != "" {
				f(name, value)
			}
		}
	}
}

// ID returns the first id in r that is a string, without quotes, or "" if there is none.
func (r *Request) ID() string { return r.owner.id() }

// finish ends r, and each joined request of which r was the last part. It reports whether
// r had not ended before.
func (r *Request) finish(end int32) bool {
	r.mu.Lock()
	if !r.end.CompareAndSwap(underWay, end) {
		r.mu.Unlock()
		return false
	}
	w := r.watchers
	if w != nil && w.done != nil {
		close(w.done)
	}
	r.mu.Unlock()
	if w == nil {
		return true
	}
	for _, f := range w.after { // without the lock: after the end nobody changes after and wholes
		go (*f)()
	}
	for _, whole := range w.wholes {
		whole.partEnded(end)
	}
	return true
}

// join makes r a part of a whole. If r has ended, the whole learns that at once.
func (r *Request) join(w whole) {
	r.mu.Lock()
	end := r.end.Load()
	if end == underWay {
		watchers := r.watch()
		watchers.wholes = append(watchers.wholes, w)
	}
	r.mu.Unlock()
	if end != underWay {
		w.partEnded(end)
	}
}

// leave makes r no part of a whole any more. The whole may still hear of the end of r if
// that comes at the same time.
func (r *Request) leave(w whole) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if watchers := r.watchers; watchers != nil && !r.GivenUp() {
		watchers.wholes = slices.DeleteFunc(watchers.wholes, func(other whole) bool { return other == w })
	}
}

// watch returns the watchers of a request, and makes them if it has none. It is called with
// r.mu locked.
func (r *Request) watch() *watchers {
	if r.watchers == nil {
		w := new(watchers)
		w.after = w.one[:0]
		r.watchers = w
	}
	return r.watchers
}

// eachCall calls f with each call of a client codec that is in r.
func (r *Request) eachCall(f func(*pendingCall)) {
	switch o := r.owner.(type) {
	case *pendingCall:
		f(o)
	case *joined:
		for _, part := range o.parts {
			part.eachCall(f)
		}
	case *try:
		o.of.request.eachCall(f)
	}
}

// sentAs notes the message that r is sent in: r itself or a batch.
func (r *Request) sentAs(message *Request) {
	r.message.Store(message)
	if a, ok := r.owner.(*try); ok && !a.of.batched {
		a.of.request.message.Store(message)
	}
}

// A requestContext is the context of a Request.
type requestContext Request

// Deadline returns the deadline that travels.
func (c *requestContext) Deadline() (time.Time, bool) { return c.deadline, !c.deadline.IsZero() }

func (c *requestContext) Value(key any) any { return c.ctx.Value(key) }

func (c *requestContext) Done() <-chan struct{} {
	r := (*Request)(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.watch()
	if w.done == nil {
		w.done = make(chan struct{})
		if r.GivenUp() {
			close(w.done)
		}
	}
	return w.done
}

func (c *requestContext) Err() error {
	end := c.end.Load()
	if end != underWay { // finish holds the lock until Done is closed
		c.mu.Lock()
		defer c.mu.Unlock()
	}
	return endErrors[end]
}

// AfterFunc spares package context a goroutine for each context that is derived from c.
func (c *requestContext) AfterFunc(f func()) (stop func() bool) {
	r := (*Request)(c)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.GivenUp() {
		go f()
		return func() bool { return false }
	}
	w := r.watch()
	w.after = append(w.after, &f)
	return func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		i := slices.Index(w.after, &f)
		if i < 0 || r.GivenUp() {
			return false
		}
		w.after = slices.Delete(w.after, i, i+1)
		return true
	}
}

// Hooks are for those who write a transport: what a Request of NewRequest or JoinRequests
// calls when its method of the same name is called. In a joined Request, a hook takes the
// place of calling this method of each part. Hooks are not called for a Request that has
// ended before. They run with the locks of the Conn held: they must not block and must not
// call a Conn.
type Hooks struct {
	// Sent is called each time that the Conn calls Sent. It may be nil.
	Sent func()

	// Fail is called once at most. It is not called for an ErrUnconfirmed of a Request
	// that has calls: a joined Request passes that to its parts. Fail may be nil.
	Fail func(error)
}

// A standalone request was made by NewRequest, not by a codec.
type standalone struct {
	Request
	hooks        Hooks
	text         string      // of the id
	notification bool        // it is a notification, or a batch of nothing else
	notifies     bool        // it is a notification, or a batch with one
	unwatch      func() bool // ends the watch of ctx
}

// NewRequest is for those who write a transport. It returns a Request that no codec made:
// for tests, and for Conns that send messages of their own. The Request has the deadline
// of ctx, and is given up when ctx is done. The caller cancels ctx when the answer has
// come.
func NewRequest(ctx context.Context, body []byte, hooks Hooks) *Request {
	var h Header
	h.Scan(body)
	s := &standalone{hooks: hooks, text: h.ID(), notification: !h.WantsAnswer(), notifies: h.hasNotification()}
	s.owner, s.ctx, s.Body = s, ctx, body
	if !s.notification {
		s.deadline, _ = ctx.Deadline()
	}
	if err := ctx.Err(); err != nil {
		s.finish(endOf(err))
	}
	s.unwatch = context.AfterFunc(ctx, func() { s.finish(endOf(ctx.Err())) })
	return &s.Request
}

// endOf returns how a request has ended for an error of its context.
func endOf(err error) int32 {
	if errors.Is(err, context.DeadlineExceeded) {
		return overdue
	}
	return canceled
}

func (s *standalone) isNotification() bool  { return s.notification }
func (s *standalone) hasNotification() bool { return s.notifies }
func (s *standalone) id() string            { return s.text }

func (s *standalone) sent() {
	if s.GivenUp() || s.notification && !s.finish(canceled) {
		return
	}
	if s.notification {
		s.unwatch()
	}
	if s.hooks.Sent != nil {
		s.hooks.Sent()
	}
}

func (s *standalone) fail(err error) {
	if !s.notification && isUnconfirmed(err) || !s.finish(canceled) {
		return
	}
	s.unwatch()
	if s.hooks.Fail != nil {
		s.hooks.Fail(err)
	}
}
