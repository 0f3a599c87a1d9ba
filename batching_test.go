package jsonrpc2_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/rpc"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// A heldConn is a Conn in memory that can hold its writer up.
type heldConn struct {
	*scriptedClient

	mu   sync.Mutex
	held chan struct{} // nil: not held up
}

func (c *heldConn) WriteRequest(r *jsonrpc2.Request) error {
	c.mu.Lock()
	held := c.held
	c.mu.Unlock()
	if held != nil {
		<-held
	}
	return c.scriptedClient.WriteRequest(r)
}

func (c *heldConn) hold() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = make(chan struct{})
}

func (c *heldConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.held)
	c.held = nil
}

// A batching is a client over a Batch, in a synctest bubble.
type batching struct {
	conn   *heldConn
	batch  jsonrpc2.ClientConn
	codec  rpc.ClientCodec
	client *rpc.Client
	stats  *jsonrpc2.ClientStats
	log    *recorder
}

func newBatching(t *testing.T, opts *jsonrpc2.BatchOptions) *batching {
	b := &batching{
		conn:  &heldConn{scriptedClient: newScriptedClient()},
		stats: new(jsonrpc2.ClientStats),
		log:   new(recorder),
	}
	b.batch = jsonrpc2.Batch(b.conn, opts)
	b.codec = jsonrpc2.NewClientCodec(b.batch, &jsonrpc2.ClientOptions{Stats: b.stats, Logger: slog.New(b.log)})
	b.client = rpc.NewClientWithCodec(b.codec)
	t.Cleanup(func() {
		_ = b.client.Close()
		synctest.Wait()
	})
	return b
}

// sent returns the messages that were sent since the last call of it.
func (b *batching) sent() (messages []string) {
	synctest.Wait()
	for {
		select {
		case message := <-b.conn.written:
			messages = append(messages, message)
		default:
			return messages
		}
	}
}

// together does something while the writer is held up, and returns the messages
// that were sent then.
func (b *batching) together(t *testing.T, do func()) []string {
	t.Helper()
	b.conn.hold()
	b.notify("Busy", nil)
	do()
	synctest.Wait()
	b.conn.release()
	messages := b.sent()
	require.NotEmpty(t, messages)
	require.Contains(t, messages[0], "Test.Busy")
	return messages[1:]
}

// A batched is a call under way.
type batched struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{} // closed when Call has returned
	result string
	err    error
}

// call begins a call; its context ends after a while, if that is not 0.
func (b *batching) call(name string, timeout time.Duration) *batched {
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), traceKey{}, name))
	if timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, timeout)
	}
	c := &batched{name: name, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		defer cancel()
		c.result, c.err = jsonrpc2.Call[string](ctx, b.client, "Test."+name, nil)
	}()
	synctest.Wait() // so that calls wait in the order they are made in
	return c
}

// notify begins a Notify, and returns what it will return.
func (b *batching) notify(name string, args any) <-chan error {
	return notify(b.client, "Test."+name, args)
}

// notify begins a Notify in a synctest bubble, and returns what it will return.
func notify(client *rpc.Client, method string, args any) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- jsonrpc2.Notify(context.Background(), client, method, args) }()
	synctest.Wait() // until it has ended or waits
	return ended
}

// requireSent requires that notifications have been sent.
func requireSent(t *testing.T, notifications ...<-chan error) {
	t.Helper()
	for _, ended := range notifications {
		synctest.Wait()
		require.Len(t, ended, 1)
		require.NoError(t, <-ended)
	}
}

type traceKey struct{}

// calls begins calls that travel in one batch, and returns it.
func (b *batching) calls(t *testing.T, names ...string) (calls []*batched, batch string) {
	t.Helper()
	sent := b.together(t, func() {
		for _, name := range names {
			calls = append(calls, b.call(name, 0))
		}
	})
	require.Len(t, sent, 1)
	require.Equal(t, names, methods(t, sent[0]))
	return calls, sent[0]
}

func (c *batched) requireWaiting(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case <-c.done:
		require.Fail(t, "does not wait", "%s: %v", c.name, c.err)
	default:
	}
}

func (c *batched) requireDone(t *testing.T) {
	t.Helper()
	synctest.Wait()
	select {
	case <-c.done:
	default:
		require.Fail(t, "still waits", c.name)
	}
}

// requireAnswered requires the answer of answerTo.
func (c *batched) requireAnswered(t *testing.T) {
	t.Helper()
	c.requireDone(t)
	require.NoError(t, c.err, c.name)
	require.Equal(t, "of "+c.name, c.result)
}

// requests returns the requests of a message.
func requests(t *testing.T, message string) (items []request) {
	t.Helper()
	if strings.HasPrefix(message, "[") {
		require.NoError(t, json.Unmarshal([]byte(message), &items), message)
		return items
	}
	items = make([]request, 1)
	require.NoError(t, json.Unmarshal([]byte(message), &items[0]), message)
	return items
}

// methods returns the methods of a message's requests, without the service.
func methods(t *testing.T, message string) (names []string) {
	t.Helper()
	for _, r := range requests(t, message) {
		names = append(names, strings.TrimPrefix(r.Method, "Test."))
	}
	return names
}

func answerTo(r request) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":"of %s"}`, r.ID, strings.TrimPrefix(r.Method, "Test."))
}

func (b *batching) answer(bodies ...string) {
	for _, body := range bodies {
		b.conn.answer(body)
	}
	synctest.Wait()
}

func (b *batching) requireNothingLeft(t *testing.T) {
	t.Helper()
	synctest.Wait()
	calls, failures := jsonrpc2.Pending(b.codec)
	require.Zero(t, calls)
	require.Zero(t, failures)
}

func rawRequest(t *testing.T, body string) *jsonrpc2.Request {
	return jsonrpc2.NewRequest(t.Context(), []byte(body), jsonrpc2.Hooks{})
}

func array(items ...string) string { return "[" + strings.Join(items, ",") + "]" }

// A relay shows a heldConn what it sends over another Conn.
type relay struct {
	held *heldConn
	jsonrpc2.ClientConn
}

func (r relay) WriteRequest(request *jsonrpc2.Request) error {
	shown := jsonrpc2.NewRequest(context.Background(), request.Body, jsonrpc2.Hooks{})
	return errors.Join(r.held.WriteRequest(shown), r.ClientConn.WriteRequest(request))
}
