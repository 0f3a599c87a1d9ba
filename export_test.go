package jsonrpc2

import (
	"io"
	"math"
	"net/rpc"
	"time"
)

// Pending returns how many calls a codec made by NewClientCodec waits for, and
// how many failures wait for its reading goroutine.
func Pending(codec rpc.ClientCodec) (calls, failures int) {
	c := codec.(*clientCodec)
	c.mu.Lock()
	defer c.mu.Unlock()
	for p := c.pending.oldest; p != nil; p = p.next {
		if c.pending.bySeq[p.seq] != p {
			panic("a call is in the list of timeouts alone")
		}
	}
	return len(c.pending.bySeq), len(c.failures.calls)
}

// FromText returns the error that a server sends for a method's error with this text.
func FromText(text string) *Error { return errorFromText(text) }

// ErrorResponse returns the response that carries an error.
func ErrorResponse(id string, err *Error) string {
	return string(appendError(nil, []byte(id), err))
}

// The defaults of the options.
const (
	DefaultTimeout    = defaultTimeout
	DefaultGrace      = defaultGrace
	DefaultBatchItems = defaultBatchItems
	DefaultBatchBytes = defaultBatchBytes
)

// Tracked returns how many requests a Conn keeps that were given to its stream.
func Tracked(c *RedialConn) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.stream.underWay.requests)
}

// NewHostedStreamConn returns a StreamConn as those that ServeListener makes.
func NewHostedStreamConn(rwc io.ReadWriteCloser) *StreamConn {
	return newStreamConn(rwc, &streamHost{
		began: time.Now(), maxUnsent: math.MaxInt64, counts: new(ListenerStats), relieve: func() {},
	})
}
