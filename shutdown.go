package jsonrpc2

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
)

// A shutdown is a Shutdown under way. net/rpc takes it for the arguments of a call, and so
// hands it to the codec.
type shutdown struct {
	codec *clientCodec    // set by the codec
	idle  <-chan struct{} // closed when nothing is under way; set by the codec
}

// errShutDown makes net/rpc forget the call that was a Shutdown.
var errShutDown = errors.New("jsonrpc2: shut down")

// Shutdown ends a client gracefully: it waits until the calls and notifications under way
// have ended, and closes the client. Those that begin after Shutdown was called fail with
// an [ErrUnavailable] that is an rpc.ErrShutdown, too, as on a client that is closed.
// client is as for [Call]. Any goroutine may call Shutdown.
//
// If ctx is done first, Shutdown closes the client as client.Close does: the calls still
// under way fail with [ErrReplyLost], the notifications with [ErrUnconfirmed]. The error of
// Shutdown then wraps ctx.Err() and says how many they were. If all had ended, Shutdown
// returns the error of client.Close, which is rpc.ErrShutdown if the client was closed
// before.
//
// A call without a Timeout and without a deadline may wait for ever, and Shutdown with it:
// give it a ctx with a deadline.
func Shutdown(ctx context.Context, client *rpc.Client) error {
	s := new(shutdown)
	call := <-client.Go("", s, nil, make(chan *rpc.Call, 1)).Done
	if !errors.Is(call.Error, errShutDown) { // it has ended
		return client.Close()
	}
	select {
	case <-s.idle:
		return client.Close()
	case <-ctx.Done():
	}
	err := client.Close()
	<-s.idle // another goroutine may be closing the client, and not have ended all yet
	switch n := s.codec.cut(); {
	case n == 0:
		return err
	case err == nil || err == rpc.ErrShutdown:
		return fmt.Errorf("jsonrpc2: client closed with requests under way: %d: %w", n, ctx.Err())
	default:
		return fmt.Errorf("jsonrpc2: client closed with requests under way: %d: %w; %w", n, ctx.Err(), err)
	}
}

// shutDown makes add fail from now on, and notes in s how to learn that all has ended.
func (c *clientCodec) shutDown(s *shutdown) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending.idle == nil {
		c.pending.idle = make(chan struct{})
		c.failures.interrupt() // see nextFailure
		if c.pending.unread && len(c.pending.bySeq) == 0 {
			c.pending.endIdle()
		}
	}
	s.codec, s.idle = c, c.pending.idle
}

// endIdle ends the wait of a Shutdown, if there is one, as nothing is under way any more. It
// is called with the codec's mu locked.
func (p *pendingCalls) endIdle() {
	if p.idle == nil {
		return
	}
	select {
	case <-p.idle:
	default:
		close(p.idle)
	}
}

// cut returns how many requests were ended by the end of the client.
func (c *clientCodec) cut() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pending.cut
}
