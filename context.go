package jsonrpc2

import (
	"context"
	"sync"
	"time"
)

// A Context is the context of a call. The arguments of a method embed it, so that the
// method can see when nobody waits for its answer any more:
//
//	type ReportArgs struct {
//		jsonrpc2.Context
//		Year int
//	}
//
//	func (r *Reports) Make(args *ReportArgs, report *Report) error {
//		rows, err := r.db.QueryContext(args, query, args.Year)
//		…
//	}
//
// A Context is done as soon as one of these is true:
//
//   - The deadline of the call has passed.
//   - The caller is known to be gone: over HTTP, streams and a [Pipe].
//   - ServerOptions.Grace is over, in a drain.
//   - The method has returned.
//
// A Context has the values of the HTTP request's context, or over other transports those of
// the ctx given to Serve. If ServerOptions.Begin returns a context, the values are those of
// that one. [CallFrom] returns the id of the call, its metadata and more.
//
// A Context is never sent: it is not one of the params, neither by name nor by position.
// Only the codec of a server sets it. In arguments made by hand, or served by net/rpc's
// own codecs, it is like context.Background().
//
// Embed a Context by value, directly or within another embedded struct. The codec leaves
// an embedded pointer nil, through which the methods of the Context would panic.
type Context struct {
	// Gob is always empty. It is there since encoding/gob refuses a struct without
	// exported fields.
	Gob struct{} `json:"-"`

	ctx context.Context // nil: context.Background()
}

var _ context.Context = Context{}

// Deadline implements context.Context.
func (c Context) Deadline() (deadline time.Time, ok bool) { return c.context().Deadline() }

// Done implements context.Context.
func (c Context) Done() <-chan struct{} { return c.context().Done() }

// Err implements context.Context.
func (c Context) Err() error { return c.context().Err() }

// Value implements context.Context.
func (c Context) Value(key any) any { return c.context().Value(key) }

func (c Context) context() context.Context {
	if c.ctx == nil {
		return context.Background()
	}
	return c.ctx
}

// setContext is promoted to the types that embed a Context. c is nil if they embed a nil
// pointer to one.
func (c *Context) setContext(ctx context.Context) {
	if c != nil {
		c.ctx = ctx
	}
}

// A contextSetter is a pointer to arguments that embed a Context.
type contextSetter interface {
	setContext(ctx context.Context)
}

// setContext sets the Context of a call's arguments, which is derived from ctx.
func (c *serverCodec) setContext(call *serverCall, args contextSetter, ctx context.Context) {
	ctx, call.cancel = c.grace.newContext(call.exchange, ctx)
	defer func() { _ = recover() }() // if the Context is behind a nil pointer
	args.setContext(ctx)
}

// A grace ends the contexts of running calls some time after a drain has begun.
type grace struct {
	ctx     context.Context // done when the grace is over; parent of contexts without another
	cancel  context.CancelFunc
	unwatch func() bool   // ends the wait for the drain; false: the goroutine was started
	closed  chan struct{} // closed by close
	closing sync.Once
	done    chan struct{} // closed when its goroutine has ended or will not start
}

// newGrace returns a grace of d after drain is done. It has no goroutine before that. When
// the grace is over, the goroutine calls over, which returns at the latest when closed is
// closed.
func newGrace(drain context.Context, d time.Duration, over func(closed <-chan struct{})) *grace {
	g := &grace{closed: make(chan struct{}), done: make(chan struct{})}
	g.ctx, g.cancel = context.WithCancel(context.WithoutCancel(drain))
	g.unwatch = context.AfterFunc(drain, func() {
		defer close(g.done)
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			g.cancel()
			over(g.closed)
		case <-g.closed:
		}
	})
	return g
}

// parentOf returns the parent of a call's context.
func (g *grace) parentOf(x *exchange) context.Context {
	switch {
	case x.ctx == nil:
		return g.ctx
	case x.onBegun != nil: // a notification runs on when its sender has gone
		return context.WithoutCancel(x.ctx)
	}
	return x.ctx
}

// newContext returns the context of a call. It is done with parent, at the deadline, and at
// the end of the grace.
func (g *grace) newContext(x *exchange, parent context.Context) (context.Context, context.CancelFunc) {
	var ctx context.Context
	var cancel context.CancelFunc
	if x.deadline.IsZero() {
		ctx, cancel = context.WithCancel(parent)
	} else {
		ctx, cancel = context.WithDeadline(parent, x.deadline)
	}
	if x.ctx == nil { // parent ends with the grace: see parentOf
		return ctx, cancel
	}
	stop := context.AfterFunc(g.ctx, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// close ends all contexts, and waits for the goroutine. It may be called again.
func (g *grace) close() {
	g.closing.Do(func() { close(g.closed) })
	g.cancel()
	if g.unwatch() {
		close(g.done)
	}
	<-g.done
}
