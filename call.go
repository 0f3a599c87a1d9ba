package jsonrpc2

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"slices"
	"time"
)

// A call is a Call under way. It stands for both the arguments and the reply in
// net/rpc's eyes, which lets the codec see the context and keep a result that
// doesn't fit from ending the client.
type call struct {
	ctx    context.Context
	args   any
	result any // *R

	// Set by the codec before net/rpc says that the call is done.
	err     error
	pending *pendingCall
	sent    bool // or may have been
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
// The error is an [*Error] if the server answered with one. If ctx is done first, it
// wraps ctx.Err(). After a deadline it is an [ErrTimeout], too, and an [ErrNotRun] if the
// request is known to be withdrawn; Call takes up to half a second more to find that
// out. If ctx is done before Call begins, Call sends nothing, and the error is an
// ErrNotRun as well. A call that is canceled does not wait to learn whether it was
// withdrawn. Any other error is one of the other sentinels, [ErrOpened], that of the
// client's Begin, or says that args can't be encoded.
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

// endError returns the error of a call that net/rpc has ended by itself, or that could
// not be sent. net/rpc ends all calls when the client ends.
func endError(err error, sent bool) error {
	switch {
	case sent && isFate(err): // another call's
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
	if c.pending == nil { // the request could not be sent
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

func ctxError(ctx context.Context, method string) error {
	err := ctx.Err()
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, err):
	case isFate(cause): // of another call, perhaps
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

// A notification stands for the arguments of a Notify in net/rpc's eyes.
type notification struct {
	ctx  context.Context
	args any

	pending *pendingCall // set by the codec
	ended   chan error   // gets what Notify returns
}

// Notify sends a notification: a request that is never answered, not even with an error.
// client is as for [Call]. Notify returns nil when the broker or the peer has the
// notification: when Redis has answered the push, when RabbitMQ has confirmed the message,
// when the HTTP server has begun it, or when the stream has written it. That is no promise
// that the method runs to its end. Notifications of several goroutines travel together, as
// calls do.
//
// Notify waits until ctx is done. If ctx has no deadline, it also ends when the client's
// Timeout has passed. The error is then an [ErrUnconfirmed]: the notification may run. It
// wraps ctx.Err() or [ErrTimeout], too.
//
// After any other error the notification does not run. If ctx is done before Notify
// begins, Notify sends nothing, and the error wraps ctx.Err() and [ErrNotRun]. Else it is
// one of the other sentinels, [ErrOpened], that of the client's Begin, or says that args
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
