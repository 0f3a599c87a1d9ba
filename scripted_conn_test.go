package jsonrpc2_test

import (
	"context"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/micromessaging/jsonrpc2"
)

// A scripted end is in memory: a test says what comes in.
type scripted[T any] struct {
	messages chan T       // to be read; closed: io.EOF
	reading  atomic.Int64 // reads begun
	settings jsonrpc2.Settings
	opened   atomic.Bool

	closing sync.Once
	closed  chan struct{}
}

func newScripted[T any]() scripted[T] {
	return scripted[T]{messages: make(chan T), closed: make(chan struct{})}
}

func (c *scripted[T]) Open(s jsonrpc2.Settings) error {
	if c.opened.Swap(true) {
		return jsonrpc2.ErrOpened
	}
	c.settings = s
	return nil
}

func (c *scripted[T]) read(ctx context.Context) (message T, err error) {
	c.reading.Add(1)
	if err := ctx.Err(); err != nil {
		return message, err
	}
	select {
	case message, ok := <-c.messages:
		if !ok {
			return message, io.EOF
		}
		return message, nil
	case <-ctx.Done():
		return message, ctx.Err()
	case <-c.closed:
		return message, io.EOF
	}
}

func (c *scripted[T]) Err() error {
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
		return nil
	}
}

func (c *scripted[T]) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return nil
}

// A scriptedServer is a ServerConn in memory.
type scriptedServer struct{ scripted[jsonrpc2.Delivery] }

func newScriptedServer() *scriptedServer {
	return &scriptedServer{newScripted[jsonrpc2.Delivery]()}
}

func (c *scriptedServer) ReadRequest(ctx context.Context) (jsonrpc2.Delivery, error) {
	return c.read(ctx)
}

// A scriptedClient is a ClientConn in memory. What is written is sent at once.
type scriptedClient struct {
	scripted[jsonrpc2.Reply]
	written chan string

	mu       sync.Mutex // protects following
	refusal  error
	silent   bool                // does not say that anything was sent
	requests []*jsonrpc2.Request // that were written
}

func newScriptedClient() *scriptedClient {
	return &scriptedClient{scripted: newScripted[jsonrpc2.Reply](), written: make(chan string, 1000)}
}

func (c *scriptedClient) ReadReply(ctx context.Context) (jsonrpc2.Reply, error) { return c.read(ctx) }

// answer makes ReadReply return a message.
func (c *scriptedClient) answer(body string) { c.messages <- jsonrpc2.Reply{Body: []byte(body)} }

// mute makes c say no longer that anything was sent.
func (c *scriptedClient) mute() *scriptedClient {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silent = true
	return c
}

// refuse makes WriteRequest fail with err, or work again if err is nil.
func (c *scriptedClient) refuse(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.refusal = err
}

func (c *scriptedClient) WriteRequest(r *jsonrpc2.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal != nil {
		return c.refusal
	}
	select {
	case <-c.closed:
		return net.ErrClosed
	default:
		c.requests = append(c.requests, r)
		r.Keep()
		if !c.silent {
			r.Sent()
		}
		c.written <- string(r.Body) // last, as a test may go on with r
		return nil
	}
}

// last returns the request that was written last.
func (c *scriptedClient) last() *jsonrpc2.Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[len(c.requests)-1]
}

func (c *scriptedClient) Inquire(context.Context, []*jsonrpc2.Request) []error { return nil }
