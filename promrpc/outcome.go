package promrpc

import (
	"context"
	"errors"
	"net/rpc"

	"github.com/micromessaging/jsonrpc2"
)

// Values of the label outcome: the lines of jsonrpc2.ClientCounts and jsonrpc2.ServerCounts.
const (
	answered      = "answered"
	failed        = "error"
	sent          = "sent"
	done          = "done"
	expired       = "expired"
	timeout       = "timeout"
	canceled      = "canceled"
	unsent        = "unsent"
	replyLost     = "reply_lost"
	unconfirmed   = "unconfirmed"
	badReply      = "bad_reply"
	replyTooLarge = "reply_too_large"
	closed        = "closed"
)

// fates are the outcomes of a client's errors. An error may wrap several of them: the first
// in this order counts. ErrTimeout may wrap what is wrong with the queue. rpc.ErrShutdown
// wraps ErrReplyLost.
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
