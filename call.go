package jsonrpc2

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"slices"
	"time"
)

// A call is a Call under way. net/rpc takes it for the arguments of the call, and for its
// reply. So the codec sees the ctx, and a result that doesn't fit need not end the client.
type call struct {
	ctx    context.Context
	args   any
	result any // *R

	// Set by the codec before net/rpc says that the call is done.
	err     error
	pending *pendingCall
	sent    bool // the request was sent, or may have been
}

// Call calls a method, such as "Calc.Add", and returns its result. client was made by
// [NewClient], or with the codec of [NewClientCodec]. Any number of goroutines may call
// over the same client.
//
// Call waits until the answer is there, ctx is done, or the client's Timeout has passed.
// A deadline of ctx takes the place of the Timeout. When ctx is done, the request is
// withdrawn if it still waits and the transport can do so. Otherwise the method may still
// run.
//
// The error is one of these:
//
//   - An [*Error], if the server answered with one.
//   - An error that wraps ctx.Err(), if ctx is done first. After a deadline it is also an
//     [ErrTimeout], and an [ErrNotRun] if the request is known to be withdrawn: Call takes
//     up to half a second more to find that out. After a cancellation Call does not wait for
//     that. If ctx is done before Call begins, Call sends nothing, and the error is also an
//     ErrNotRun.
//   - One of the sentinels, such as an ErrTimeout at the end of the client's Timeout.
//   - The error of the client's Begin, [ErrOpened], or that args can't be encoded. Nothing
//     was sent.
func Call[R any](ctx context.Context, client *rpc.Client, method string, args any) (R, error) {
	var none R
	if ctx.Err() != nil {
		return none, notBegun(ctx, method)
	}
	result := new(R)
	c := &call{ctx: ctx, args: args, result: result}
	pending := client.Go(method, c, c, make(chan *rpc.Call, 1))
	select {
	case <-pending.Done:
	case <-ctx.Done():
		err := ctxError(ctx, method)
		return none, c.giveUp(pending, err)
	}
	switch {
	case c.err != nil:
		return none, c.err
	case pending.Error != nil:
		return none, endError(pending.Error, c.sent)
	}
	return *result, nil
}

// endError returns the error of a call that net/rpc has ended with err, or that could not be
// sent. net/rpc ends all calls when the client ends.
func endError(err error, sent bool) error {
	switch {
	case sent && isFate(err): // of another call, which ended the client: hide it from errors.Is
		return fmt.Errorf("%w: the client has ended: %v", ErrReplyLost, err)
	case sent:
		return fmt.Errorf("%w: the client has ended: %w", ErrReplyLost, err)
	case err == rpc.ErrShutdown:
		return fmt.Errorf("%w: the client has ended: %w", ErrUnavailable, err)
	}
	return err
}

// giveUp ends the call with an error of its ctx. It returns that error, with what the
// Conn could find out about the request.
func (c *call) giveUp(pending *rpc.Call, err error) error {
	if c.pending == nil { // the client had ended: the codec does not know of the call
		return err
	}
	err, more := c.pending.codec.giveUp(c.pending, err)
	if more {
		err = c.await(pending, err)
	}
	return err
}

// await waits for an error that tells more than err does, for inquiryTime at most.
func (c *call) await(pending *rpc.Call, err error) error {
	timer := time.NewTimer(inquiryTime)
	defer timer.Stop()
	select {
	case <-pending.Done:
		if c.err != nil {
			return c.err
		}
	case <-timer.C:
	}
	return err
}

// notBegun returns the error of a request whose ctx was done before it could be sent.
func notBegun(ctx context.Context, method string) error {
	return fmt.Errorf("%w; %w: its context was done before", ctxError(ctx, method), ErrNotRun)
}

// ctxError returns the error of a request whose ctx is done. It wraps ctx.Err() and the cause.
func ctxError(ctx context.Context, method string) error {
	err := ctx.Err()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, err):
	case isFate(cause): // of another call, perhaps: hide it from errors.Is
		err = fmt.Errorf("%w: %v", err, cause)
	default:
		err = fmt.Errorf("%w: %w", err, cause)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %s: %w", ErrTimeout, method, err)
	}
	return fmt.Errorf("jsonrpc2: %s: %w", method, err)
}

// isFate reports whether an error says what became of a call.
func isFate(err error) bool {
	var answer *Error
	return errors.As(err, &answer) || slices.ContainsFunc(sentinels, func(s error) bool { return errors.Is(err, s) })
}

// A notification is a Notify under way. net/rpc takes it for the arguments of a call.
type notification struct {
	ctx  context.Context
	args any

	pending *pendingCall // set by the codec
	ended   chan error   // receives once what Notify returns; it has room for that
}

// Notify sends a notification: a request that is never answered, not even with an error.
// client is as for [Call]. Notifications of several goroutines travel together, as calls do.
//
// Notify returns nil when the broker or the peer has the notification: when Redis has
// answered the push, when RabbitMQ has confirmed the message, when the HTTP server has begun
// it, or when the stream has written it. That is no promise that the method runs to its end.
//
// Notify waits for that until ctx is done or, if ctx has no deadline, until the client's
// Timeout has passed. The error is then an [ErrUnconfirmed], which wraps ctx.Err() or
// [ErrTimeout], too: the notification may run. The same holds after any other ErrUnconfirmed,
// as when the client is closed.
//
// After every other error the notification does not run. If ctx is done before Notify
// begins, Notify sends nothing, and the error wraps ctx.Err() and [ErrNotRun]. Otherwise the
// error is another sentinel, [ErrOpened], the error of the client's Begin, or says that args
// can't be encoded.
func Notify(ctx context.Context, client *rpc.Client, method string, args any) error {
	if ctx.Err() != nil {
		return notBegun(ctx, method)
	}
	n := &notification{ctx: ctx, args: args, ended: make(chan error, 1)}
	call := <-client.Go(method, n, nil, make(chan *rpc.Call, 1)).Done
	if !errors.Is(call.Error, errNotified) {
		return endError(call.Error, false)
	}
	var err error
	select {
	case err = <-n.ended:
	case <-ctx.Done():
		err = n.pending.codec.giveUpNotification(n.pending, ctxError(ctx, method))
	}
	n.pending.tell(err)
	return err
}
