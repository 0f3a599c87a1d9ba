// Package conntest is the suite that every jsonrpc2.Conn has to pass.
package conntest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/rpc"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// A Transport makes Conns that reach each other: they have one address, that
// nothing else uses.
type Transport struct {
	// Dial returns a new calling Conn. The suite calls it before Listen, so that
	// a Dial of a transport without broker may make both ends and keep the other
	// one for Listen, and sends nothing before both are there.
	Dial func(t testing.TB) jsonrpc2.Conn

	// Listen returns a new serving Conn.
	Listen func(t testing.TB) jsonrpc2.Conn

	// Broker says that requests wait between the Conns, so that there may be any
	// number of either, at any time; what one serving Conn gave back is served
	// by another, and a serving Conn takes no more than SetLimits says.
	Broker bool

	// Deadline says that a call's deadline travels with its request.
	Deadline bool

	// Duplex says that either Conn both calls and serves, as those of a stream
	// do. Else a serving Conn refuses to call.
	Duplex bool
}

// Run runs the suite. connect makes the Transport of one test; what it sets up
// it has to clean up by t.Cleanup. The suite closes the Conns.
func Run(t *testing.T, connect func(t *testing.T) Transport) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, transport Transport)
	}{
		{"Echo", testEcho},
		{"ConcurrentCalls", testConcurrentCalls},
		{"Deadline", testDeadline},
		{"Notification", testNotification},
		{"RawBatch", testRawBatch},
		{"InterruptedRead", testInterruptedRead},
		{"DrainIdle", testDrainIdle},
		{"DrainFinishesCalls", testDrainFinishesCalls},
		{"DrainGivesBack", testDrainGivesBack},
		{"CloseWhileReading", testCloseWhileReading},
		{"WriteAfterClose", testWriteAfterClose},
		{"ServingConnDoesNotCall", testServingConnDoesNotCall},
		{"GiantMessages", testGiantMessages},
		{"BrokenMessages", testBrokenMessages},
		{"ReplyOnce", testReplyOnce},
		{"Limit", testLimit},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, connect(t)) })
	}
}

const (
	patience = 30 * time.Second // for what has to happen
	soon     = 2 * time.Second  // for what has to happen at once
)

// An echo is the service of the suite.
type echo struct {
	notes   chan string   // what Note got
	started chan string   // what Wait got
	release chan struct{} // ends every Wait
}

func newEcho() *echo {
	return &echo{make(chan string, 1000), make(chan string, 1000), make(chan struct{})}
}

func (e *echo) Text(text string, reply *string) error {
	*reply = text
	return nil
}

func (e *echo) Note(text string, _ *bool) error {
	e.notes <- text
	return nil
}

func (e *echo) Wait(text string, reply *string) error {
	e.started <- text
	<-e.release
	*reply = text
	return nil
}

// None are the arguments of a method that looks at its context alone.
type None struct{ jsonrpc2.Context }

// Left returns for how long its caller will wait, 0 if that is not known.
func (e *echo) Left(args None, left *time.Duration) error {
	if deadline, ok := args.Deadline(); ok {
		*left = time.Until(deadline)
	}
	return nil
}

var quiet = slog.New(slog.DiscardHandler)

// serving is one Serve under way.
type serving struct {
	conn  *countingConn
	drain context.CancelFunc
	done  chan error
}

// serve serves conn until the end of the test, or until it is drained.
func serve(t *testing.T, conn jsonrpc2.Conn, service *echo, opts jsonrpc2.ServerOptions) *serving {
	server := rpc.NewServer()
	require.NoError(t, server.RegisterName("Echo", service))
	opts.Service, opts.Logger = "Echo", quiet
	ctx, drain := context.WithCancel(context.Background())
	s := &serving{conn: &countingConn{Conn: conn}, drain: drain, done: make(chan error, 1)}
	go func() { s.done <- jsonrpc2.Serve(ctx, server, s.conn, &opts) }()
	t.Cleanup(func() {
		drain()
		s.conn.check(t)
		assert.NoError(t, conn.Close())
	})
	return s
}

// wait waits for a drained Serve to return.
func (s *serving) wait(t *testing.T, within time.Duration) {
	t.Helper()
	select {
	case err := <-s.done:
		require.NoError(t, err)
		s.done <- nil
	case <-time.After(within):
		require.FailNow(t, "Serve has not returned")
	}
}

// A countingConn notes how often each message was replied to.
type countingConn struct {
	jsonrpc2.Conn

	mu      sync.Mutex
	replies []int
}

func (c *countingConn) SetLimits(limits jsonrpc2.Limits) {
	if l, ok := c.Conn.(jsonrpc2.Limiter); ok {
		l.SetLimits(limits)
	}
}

func (c *countingConn) ReadMessage(ctx context.Context) (jsonrpc2.Message, error) {
	msg, err := c.Conn.ReadMessage(ctx)
	if err != nil {
		return msg, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i, reply := len(c.replies), msg.Reply
	c.replies = append(c.replies, 0)
	msg.Reply = func(body []byte) error {
		c.mu.Lock()
		c.replies[i]++
		c.mu.Unlock()
		return reply(body)
	}
	return msg, nil
}

// check waits until every message was replied to, once.
func (c *countingConn) check(t *testing.T) {
	t.Helper()
	assert.EventuallyWithT(t, func(t *assert.CollectT) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, n := range c.replies {
			assert.Equal(t, 1, n, "calls of a message's Reply")
		}
	}, patience, time.Millisecond)
}

// dialClient returns a client, and the Conn that it calls over.
func dialClient(t *testing.T, transport Transport) (*rpc.Client, jsonrpc2.Conn) {
	conn := transport.Dial(t)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Echo", Timeout: patience, Logger: quiet})
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client, conn
}

// dialRaw returns a calling Conn, for messages written by hand.
func dialRaw(t *testing.T, transport Transport) *rawConn {
	conn := transport.Dial(t)
	limit(conn, 0)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	return &rawConn{conn}
}

// limit tells a Conn the limits that a codec would tell it.
func limit(conn jsonrpc2.Conn, inFlight int) {
	if l, ok := conn.(jsonrpc2.Limiter); ok {
		l.SetLimits(jsonrpc2.Limits{MessageSize: jsonrpc2.DefaultMaxMessageSize, InFlight: inFlight})
	}
}

type rawConn struct{ jsonrpc2.Conn }

func (c *rawConn) write(t *testing.T, body string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	require.NoError(t, c.WriteMessage(ctx, []byte(body)))
}

// read returns the next message, decoded.
func (c *rawConn) read(t *testing.T) any {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	msg, err := c.ReadMessage(ctx)
	require.NoError(t, err)
	require.NoError(t, msg.Err)
	var v any
	require.NoError(t, json.Unmarshal(msg.Body, &v), "%s", msg.Body)
	return v
}

// request is a call of Text or Wait with its id as text.
func request(method, id string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%q,"method":%q,"params":[%q]}`, id, method, id)
}

// response is the answer to request.
func response(id string) map[string]any {
	return map[string]any{"jsonrpc": "2.0", "id": id, "result": id}
}

func callText(t *testing.T, client *rpc.Client, text string) {
	t.Helper()
	got, err := jsonrpc2.Call[string](t.Context(), client, "Echo.Text", text)
	require.NoError(t, err)
	require.Equal(t, text, got)
}

func receive(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case s := <-from:
		return s
	case <-time.After(patience):
		require.FailNow(t, "nothing received")
		return ""
	}
}

func testEcho(t *testing.T, transport Transport) {
	client, _ := dialClient(t, transport)
	serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	callText(t, client, "hello")
	callText(t, client, `"<&>" é 😀`+"\n\t\x00")
	_, err := jsonrpc2.Call[string](t.Context(), client, "Echo.Nothing", nil)
	answer, ok := jsonrpc2.AsError(err)
	require.True(t, ok, "%v", err)
	require.EqualValues(t, jsonrpc2.CodeMethodNotFound, answer.Code)
	callText(t, client, "")
}

func testConcurrentCalls(t *testing.T, transport Transport) {
	client, _ := dialClient(t, transport)
	serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	var wg sync.WaitGroup
	for g := range 64 {
		wg.Go(func() {
			for i := range 20 {
				text := fmt.Sprint(g, "-", i)
				var got string
				assert.NoError(t, client.Call("Echo.Text", text, &got))
				assert.Equal(t, text, got)
			}
		})
	}
	wg.Wait()
}

func testDeadline(t *testing.T, transport Transport) {
	if !transport.Deadline {
		t.Skip("deadlines don't travel")
	}
	conn := transport.Dial(t)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Echo", Timeout: -1, Logger: quiet})
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	for _, timeout := range []time.Duration{0, patience, time.Hour, 0, patience} {
		ctx, cancel := t.Context(), func() {}
		if timeout > 0 {
			ctx, cancel = context.WithTimeout(ctx, timeout)
		}
		left, err := jsonrpc2.Call[time.Duration](ctx, client, "Echo.Left", None{})
		cancel()
		require.NoError(t, err)
		require.LessOrEqual(t, left, timeout+time.Second) // the broker's clock is not known to the millisecond
		require.Equal(t, timeout > 0, left > max(timeout-patience, 0), "%v of %v", left, timeout)
	}
}

func testNotification(t *testing.T, transport Transport) {
	conn := dialRaw(t, transport)
	service := newEcho()
	serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{})
	conn.write(t, `{"jsonrpc":"2.0","method":"note","params":["one"]}`)
	require.Equal(t, "one", receive(t, service.notes))
	conn.write(t, `[{"jsonrpc":"2.0","method":"note","params":["two"]},{"jsonrpc":"2.0","method":"gone"}]`)
	require.Equal(t, "two", receive(t, service.notes))
	conn.write(t, request("text", newID()))
	require.Contains(t, conn.read(t), "result", "the first answer is the call's")
}

func testRawBatch(t *testing.T, transport Transport) {
	conn := dialRaw(t, transport)
	serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	a, b := newID(), newID()
	conn.write(t, "["+request("text", a)+`,{"jsonrpc":"2.0","method":"note","params":["x"]},5,`+request("text", b)+"]")
	answers, ok := conn.read(t).([]any)
	require.True(t, ok)
	require.Len(t, answers, 3)
	require.Contains(t, answers, any(response(a)))
	require.Contains(t, answers, any(response(b)))
}

func testInterruptedRead(t *testing.T, transport Transport) {
	conn := dialRaw(t, transport)
	serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	want := make(map[string]bool)
	for range 200 {
		id := newID()
		want[id] = true
		conn.write(t, request("text", id))
	}
	deadline := time.Now().Add(patience)
	for i := 0; len(want) > 0; i++ {
		require.True(t, time.Now().Before(deadline), "%d answers are lost", len(want))
		id, ok := readInterrupted(t, conn, time.Duration(i%20)*50*time.Microsecond)
		if ok {
			require.True(t, want[id], "answered twice: %s", id)
			delete(want, id)
		}
	}
}

// readInterrupted reads for no longer than d, and returns the id of what it got.
func readInterrupted(t *testing.T, conn *rawConn, d time.Duration) (id string, ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	msg, err := conn.ReadMessage(ctx)
	if err != nil {
		require.ErrorIs(t, err, ctx.Err())
		require.Error(t, ctx.Err())
		return "", false
	}
	require.NoError(t, msg.Err)
	var answer struct{ ID, Result string }
	require.NoError(t, json.Unmarshal(msg.Body, &answer), "%s", msg.Body)
	require.Equal(t, answer.ID, answer.Result)
	return answer.ID, true
}

func testDrainIdle(t *testing.T, transport Transport) {
	client, _ := dialClient(t, transport)
	s := serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	callText(t, client, "it is reading")
	s.drain()
	s.wait(t, soon)
}

func testDrainFinishesCalls(t *testing.T, transport Transport) {
	client, _ := dialClient(t, transport)
	service := newEcho()
	s := serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{})
	var text string
	call := client.Go("Echo.Wait", "running", &text, nil)
	require.Equal(t, "running", receive(t, service.started))
	s.drain()
	close(service.release)
	require.NoError(t, (<-call.Done).Error)
	require.Equal(t, "running", text)
	s.wait(t, soon)
}

func testDrainGivesBack(t *testing.T, transport Transport) {
	if !transport.Broker {
		t.Skip("only a broker can take something back")
	}
	client, _ := dialClient(t, transport)
	service := newEcho()
	first := serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{MaxInFlight: 1})
	running := client.Go("Echo.Wait", "running", new(string), nil)
	require.Equal(t, "running", receive(t, service.started))
	var waiting []*rpc.Call
	for i := range 20 {
		waiting = append(waiting, client.Go("Echo.Text", fmt.Sprint(i), new(string), nil))
	}
	first.drain()
	serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{})
	for i, call := range waiting {
		require.NoError(t, (<-call.Done).Error)
		require.Equal(t, fmt.Sprint(i), *call.Reply.(*string))
	}
	close(service.release)
	require.NoError(t, (<-running.Done).Error)
	first.wait(t, soon)
}

func testCloseWhileReading(t *testing.T, transport Transport) {
	calling, serving := transport.Dial(t), transport.Listen(t)
	limit(calling, 0)
	limit(serving, 1)
	for name, conn := range map[string]jsonrpc2.Conn{"calling": calling, "serving": serving} {
		read := make(chan error, 1)
		go func() {
			_, err := conn.ReadMessage(context.Background())
			read <- err
		}()
		closed := make(chan error, 2)
		for range cap(closed) { // two at once, too
			go func() { closed <- conn.Close() }()
		}
		timeout := time.After(soon)
		for range cap(closed) {
			select {
			case err := <-closed:
				require.NoError(t, err)
			case <-timeout:
				require.FailNow(t, name+": Close has not returned")
			}
		}
		select {
		case err := <-read:
			require.Error(t, err)
		case <-timeout:
			require.FailNow(t, name+": ReadMessage has not returned")
		}
		require.NoError(t, conn.Close())
	}
}

func testWriteAfterClose(t *testing.T, transport Transport) {
	calling, serving := transport.Dial(t), transport.Listen(t)
	require.NoError(t, calling.Close())
	require.NoError(t, serving.Close())
	require.Error(t, calling.WriteMessage(t.Context(), []byte(request("text", newID()))))
}

func testServingConnDoesNotCall(t *testing.T, transport Transport) {
	if transport.Duplex {
		t.Skip("both ends call")
	}
	_, serving := dialRaw(t, transport), transport.Listen(t)
	require.ErrorIs(t, serving.WriteMessage(t.Context(), []byte(request("text", newID()))), errors.ErrUnsupported)
	require.NoError(t, serving.Close())
}

func testGiantMessages(t *testing.T, transport Transport) {
	client, _ := dialClient(t, transport)
	serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	callText(t, client, strings.Repeat("x", 3<<20))
	callText(t, client, "small")
}

func testBrokenMessages(t *testing.T, transport Transport) {
	client, conn := dialClient(t, transport)
	serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	for _, broken := range []string{
		`nonsense`,
		`]`,
		`5`,
		`[]`,
		`{"id":"` + newID() + `","jsonrpc":"2.0","method":"te`,
		`{"id":"` + newID() + `","jsonrpc":"2.0","method":"text"`,
		`{"id":"` + newID() + `","jsonrpc":"2.0","method" "text"}`,
		`{"id":"` + newID() + `","jsonrpc":"1.0","method":"text"}`,
		`{"id":"` + newID() + `","jsonrpc":"2.0","method":5}`,
		`{"id":"` + newID() + `","jsonrpc":"2.0","method":"` + "\xff" + `"}`,
		`{"id":"` + newID() + `","jsonrpc":"2.0","result":5}`,
		`[` + strings.Repeat(`[`, 1000) + strings.Repeat(`]`, 1000) + `]`,
	} {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		_ = conn.WriteMessage(ctx, []byte(broken)) // may be refused here already
		callText(t, client, "behind "+broken[:1])
		cancel()
	}
}

func testReplyOnce(t *testing.T, transport Transport) {
	conn, serving := dialRaw(t, transport), transport.Listen(t)
	limit(serving, 10)
	id := newID()
	conn.write(t, request("text", id))
	msg := readRequest(t, serving)
	require.Contains(t, string(msg.Body), id)
	answer, err := json.Marshal(response(id))
	require.NoError(t, err)
	require.NoError(t, msg.Reply(answer))
	clear(answer) // it is copied
	require.Equal(t, any(response(id)), conn.read(t))

	conn.write(t, `{"jsonrpc":"2.0","method":"note"}`)
	require.NoError(t, readRequest(t, serving).Reply(nil))
	require.NoError(t, serving.Close())
}

func readRequest(t *testing.T, conn jsonrpc2.Conn) jsonrpc2.Message {
	t.Helper()
	return awaitRequest(t, readLater(conn))
}

func testLimit(t *testing.T, transport Transport) {
	if !transport.Broker {
		t.Skip("only what a broker holds back can go elsewhere")
	}
	conn, serving := dialRaw(t, transport), transport.Listen(t)
	limit(serving, 2)
	for range 4 {
		conn.write(t, request("text", newID()))
	}
	first, second := readRequest(t, serving), readRequest(t, serving)
	third := readLater(serving)
	requireNone(t, third)
	require.NoError(t, first.Reply(nil))
	thirdMsg := awaitRequest(t, third)
	fourth := readLater(serving)
	requireNone(t, fourth)
	require.NoError(t, second.Reply(nil))
	fourthMsg := awaitRequest(t, fourth)
	require.NoError(t, thirdMsg.Reply(nil))
	require.NoError(t, fourthMsg.Reply(nil))
	require.NoError(t, serving.Close())
}

// readLater reads one message. The context has no end, which would be the drain.
func readLater(conn jsonrpc2.Conn) <-chan jsonrpc2.Message {
	read := make(chan jsonrpc2.Message, 1)
	go func() {
		msg, err := conn.ReadMessage(context.Background())
		if err == nil {
			read <- msg
		}
	}()
	return read
}

// requireNone makes sure that no place is free.
func requireNone(t *testing.T, read <-chan jsonrpc2.Message) {
	t.Helper()
	select {
	case <-read:
		require.Fail(t, "more requests than places")
	case <-time.After(100 * time.Millisecond):
	}
}

func awaitRequest(t *testing.T, read <-chan jsonrpc2.Message) jsonrpc2.Message {
	t.Helper()
	select {
	case msg := <-read:
		require.NoError(t, msg.Err)
		return msg
	case <-time.After(patience):
		require.Fail(t, "no request")
		return jsonrpc2.Message{}
	}
}

// newID returns an id that nobody else has.
func newID() string { return rand.Text() }
