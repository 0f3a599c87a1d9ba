package conntest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

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
	if !transport.Deadlines {
		t.Skip("deadlines don't travel")
	}
	client := newClient(t, transport.Dial(t), -1)
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

// A notification ends when it is known to be sent, and not before.
func testNotificationIsSent(t *testing.T, transport Transport) {
	conn := dialRaw(t, transport)
	service := newEcho()
	serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{})
	sent := make(chan struct{}, 10)
	for _, text := range []string{"one", "two"} {
		body := `{"jsonrpc":"2.0","method":"note","params":["` + text + `"]}`
		r := jsonrpc2.NewRequest(t.Context(), []byte(body), jsonrpc2.Hooks{
			Sent: func() { sent <- struct{}{} },
			Fail: func(err error) { assert.NoError(t, err) },
		})
		require.True(t, r.IsNotification())
		require.NoError(t, conn.WriteRequest(r))
		receive(t, sent)
		require.Equal(t, text, receive(t, service.notes))
		receive(t, r.Context().Done())
		require.True(t, r.GivenUp())
	}
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

// The answer to a joined request answers each of the calls that it stands for.
func testJoinedRequests(t *testing.T, transport Transport) {
	conn := jsonrpc2.Batch(transport.Dial(t), nil)
	client := newClient(t, conn, patience)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			text := fmt.Sprint(i)
			got, err := jsonrpc2.Call[string](t.Context(), client, "Echo.Text", text)
			assert.NoError(t, err)
			assert.Equal(t, text, got)
		})
	}
	wg.Wait()
}

// Metadata arrives with each call, alone and in batches.
func testMetadata(t *testing.T, transport Transport) {
	client := newClient(t, jsonrpc2.Batch(transport.Dial(t), nil), patience)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	serve(t, transport.Listen(t), newEcho(), jsonrpc2.ServerOptions{})
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			tenant := fmt.Sprint(i)
			ctx := jsonrpc2.WithMeta(t.Context(), jsonrpc2.Meta{"tenant": tenant})
			got, err := jsonrpc2.Call[string](ctx, client, "Echo.Tenant", nil)
			assert.NoError(t, err)
			assert.Equal(t, tenant, got)
		})
	}
	wg.Wait()
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
	reply, err := conn.ReadReply(ctx)
	if err != nil {
		require.ErrorIs(t, err, ctx.Err())
		require.Error(t, ctx.Err())
		return "", false
	}
	var answer struct{ ID, Result string }
	require.NoError(t, json.Unmarshal(reply.Body, &answer), "%s", reply.Body)
	require.Equal(t, answer.ID, answer.Result)
	return answer.ID, true
}

// A call that is given up fails with the error of its ctx, and disturbs no other.
func testGivenUp(t *testing.T, transport Transport) {
	client, _ := dialClient(t, transport)
	service := newEcho()
	serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{})
	ctx, cancel := context.WithCancel(t.Context())
	callErr := make(chan error, 1)
	go func() {
		_, err := jsonrpc2.Call[string](ctx, client, "Echo.Wait", "given up")
		callErr <- err
	}()
	require.Equal(t, "given up", receive(t, service.started))
	cancel()
	require.ErrorIs(t, <-callErr, context.Canceled)
	callText(t, client, "another")
	close(service.release)
	callText(t, client, "one more")
}

// A request whose call was given up while it waited never runs.
func testWithdrawn(t *testing.T, transport Transport) {
	if !transport.Withdraws {
		t.Skip("requests are not withdrawn")
	}
	client, _ := dialClient(t, transport)
	for try := 1; ; try++ { // the Conn has half a second to withdraw it, which a busy machine may exceed
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		_, err := jsonrpc2.Call[string](ctx, client, "Echo.Note", "withdrawn")
		cancel()
		require.ErrorIs(t, err, jsonrpc2.ErrTimeout)
		if errors.Is(err, jsonrpc2.ErrNotRun) {
			break
		}
		require.Less(t, try, 10, "%v", err)
	}
	service := newEcho()
	serve(t, transport.Listen(t), service, jsonrpc2.ServerOptions{})
	_, err := jsonrpc2.Call[bool](t.Context(), client, "Echo.Note", "taken")
	require.NoError(t, err)
	require.Equal(t, "taken", receive(t, service.notes), "the first one is the second's")
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
		_ = conn.WriteRequest(jsonrpc2.NewRequest(ctx, []byte(broken), jsonrpc2.Hooks{})) // may be refused here already
		callText(t, client, "behind "+broken[:1])
		cancel()
	}
}
