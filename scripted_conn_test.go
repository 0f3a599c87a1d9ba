package jsonrpc2_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/micromessaging/jsonrpc2"
)

const (
	patience = 10 * time.Second
	tick     = time.Millisecond
)

// A scriptedConn is a Conn in memory.
type scriptedConn struct {
	messages chan jsonrpc2.Message // to be read; closed: io.EOF
	written  chan string
	reading  atomic.Int64 // reads begun

	mu      sync.Mutex // protects following
	refusal error

	closing sync.Once
	closed  chan struct{}
}

func newScriptedConn() *scriptedConn {
	return &scriptedConn{
		messages: make(chan jsonrpc2.Message),
		written:  make(chan string, 1000),
		closed:   make(chan struct{}),
	}
}

func (c *scriptedConn) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	c.reading.Add(1)
	if err := ctx.Err(); err != nil {
		return jsonrpc2.Message{}, err
	}
	select {
	case msg, ok := <-c.messages:
		if !ok {
			return msg, io.EOF
		}
		return msg, nil
	case <-ctx.Done():
		return jsonrpc2.Message{}, ctx.Err()
	case <-c.closed:
		return jsonrpc2.Message{}, io.EOF
	}
}

// refuse makes WriteMessage fail, or no more.
func (c *scriptedConn) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = err
}

func (c *scriptedConn) WriteMessage(_ context.Context, body []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal != nil {
		return c.refusal
	}
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
		c.written <- string(body)
		return nil
	}
}

func (c *scriptedConn) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return nil
}

// A Counter counts the calls of Count.
type Counter struct{ n atomic.Int64 }

func (c *Counter) Count(struct{}, *bool) error {
	c.n.Add(1)
	return nil
}
