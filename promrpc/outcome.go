package promrpc

import (
	"context"
	"errors"
	"net/rpc"

	"github.com/micromessaging/jsonrpc2"
)

// The values of the label outcome that are not named after a sentinel.
const (
	answered = "answered" // a call, with a result
	failed   = "error"    // a call that was answered with an error, and on a server also a notification that failed
	sent     = "sent"     // a notification that the broker or the peer has
	done     = "done"     // a notification that a server has run
	expired  = "expired"
	timeout  = "timeout"
	canceled = "canceled"
	unsent   = "unsent"
	closed   = "closed"

	replyLost     = "reply_lost"
	unconfirmed   = "unconfirmed"
	badReply      = "bad_reply"
	replyTooLarge = "reply_too_large"
)

// fates are the outcomes that an error of a client may tell. An error may wrap several: that
// of a timeout says what is wrong with the queue, and what ends with the client is also a
// lost reply, or unconfirmed. So the first that fits counts.
var fates = []struct {
	err     error
	outcome string
}{
	{jsonrpc2.ErrTimeout, timeout},
	{jsonrpc2.ErrUnavailable, "unavailable"},
	{jsonrpc2.ErrNoServer, "no_server"},
	{jsonrpc2.ErrOverloaded, "overloaded"},
	{jsonrpc2.ErrTooLarge, "too_large"},
	{jsonrpc2.ErrBadReply, badReply},
	{jsonrpc2.ErrReplyTooLarge, replyTooLarge},
	{rpc.ErrShutdown, closed},
	{jsonrpc2.ErrReplyLost, replyLost},
	{context.Canceled, canceled},
	{jsonrpc2.ErrUnconfirmed, unconfirmed},
}

// clientOutcome returns the label of what a client's Begin is told.
func clientOutcome(err error, notification bool) string {
	switch _, ok := err.(*jsonrpc2.Error); {
	case ok:
		return failed
	case err == nil && notification:
		return sent
	case err == nil:
		return answered
	}
	for _, fate := range fates {
		if errors.Is(err, fate.err) {
			return fate.outcome
		}
	}
	return unsent // the arguments can't be encoded, or another Begin refused the request
}

// serverOutcome returns the label of what a server's Begin is told.
func serverOutcome(err error, notification bool) string {
	switch {
	case err != nil:
		return failed
	case notification:
		return done
	}
	return answered
}
