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

// Call calls a method, as client.Call does, until it is answered or ctx is
// done, and returns the result, which no other goroutine writes to afterwards.
// client is one made by [NewClient], or with a [NewClientCodec].
//
// The error is an [*Error] when the server answered with one. It is the ctx's
// (and an ErrTimeout, when its deadline passed) when ctx is done first: the
// method may run all the same, unless it is an ErrNotRun. A request that still
// waits is withdrawn where the transport can do so. For other errors see
// [ErrTimeout] and the sentinels beside it.
//
// A ctx with a deadline replaces the client's Timeout for this call; else both
// end it.
func Call[R any](ctx context.Context, client *rpc.Client, method string, args any) (R, error) {
	var none R
	if ctx.Err() != nil {
		return none, ctxError(ctx, method)
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

// endError returns the error of a call that net/rpc has ended by itself, as it does
// with all of them when a client ends, or that could not be sent.
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

// giveUp ends the call with an error of its ctx, and returns what it is to end with.
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

// await waits for the error that tells more than err does.
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
	args any
}

// Notify sends a notification: a request that is never answered, not even with
// an error. It returns as soon as the transport has taken it over, which is no
// promise that it will run. client is one made by [NewClient], or with a
// [NewClientCodec].
func Notify(client *rpc.Client, method string, args any) error {
	done := client.Go(method, notification{args}, nil, make(chan *rpc.Call, 1)).Done
	if err := (<-done).Error; err != errNotified {
		return endError(err, false)
	}
	return nil
}
