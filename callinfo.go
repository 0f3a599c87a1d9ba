package jsonrpc2

import (
	"context"
	"crypto/tls"
	"time"
)

// A CallInfo says what is known of a call or a notification beside its arguments. On a
// server, [CallFrom] returns it. A [BeginFunc] gets it on both ends. It must not be changed.
type CallInfo struct {
	Method   string    // as net/rpc knows it, such as "Calc.Add"
	ID       string    // the id as JSON text, such as `"x-1"` or `7`; "" for a notification
	Meta     Meta      // what travels with it, nil for nothing; a server can't trust it
	Deadline time.Time // when nobody waits any more; zero if that is not known

	// Attempt is, on a server, how often the call has been begun, this time included. It
	// is more than 1 if a server that had the call has died or was taken for dead, even if
	// that server had not begun it. Only Redis with [AtLeastOnce] knows it; else it is 0.
	Attempt int

	// Peer is, on a server, who sent the call: over HTTP and streams. Brokers don't tell.
	Peer Peer
}

// A Peer is the other side of a connection. The zero value says that there is none.
type Peer struct {
	Addr string               // such as "10.0.0.7:41512"
	TLS  *tls.ConnectionState // nil without TLS, or if it is not known
}

type callKey struct{}

// CallFrom returns what is known of the call that a method, or a [BeginFunc] of a server,
// runs for. ctx is the context of either: arguments that embed a [Context] are one. CallFrom
// returns nil for any other context.
func CallFrom(ctx context.Context) *CallInfo {
	info, _ := ctx.Value(callKey{}).(*CallInfo)
	return info
}

// info returns what is known of a call that was received.
func (c *serverCodec) info(call *serverCall) *CallInfo {
	x := call.exchange
	info := &CallInfo{
		Method:   call.method,
		ID:       string(call.id),
		Meta:     decodeMeta(c.in.meta),
		Deadline: x.deadline,
		Attempt:  x.attempt,
	}
	if x.origin != nil {
		info.Meta = addTrace(info.Meta, x.origin.Header)
		info.Peer = x.origin.Peer()
	}
	return info
}

// info returns what is known of a call that is about to be sent.
func (p *pendingCall) info(method string) *CallInfo {
	info := &CallInfo{Method: method, Meta: metaOf(p.ctx), Deadline: p.deadline}
	if p.notification == nil {
		info.ID = string(p.codec.appendID(nil, p.seq))
	}
	return info
}
