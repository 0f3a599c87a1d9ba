package conntest

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/rpc"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

// dialClient returns a client, and the Conn that it calls over.
func dialClient(t *testing.T, transport Transport) (*rpc.Client, jsonrpc2.ClientConn) {
	conn := transport.Dial(t)
	client := newClient(t, conn, patience)
	t.Cleanup(func() { assert.NoError(t, client.Close()) })
	return client, conn
}

// newClient returns a client. At the end of the test, each of its calls and notifications
// must be counted as ended.
func newClient(t *testing.T, conn jsonrpc2.ClientConn, timeout time.Duration) *rpc.Client {
	stats := new(jsonrpc2.ClientStats)
	t.Cleanup(func() {
		assert.Eventually(t, func() bool { return stats.Snapshot().InFlight == 0 }, patience, time.Millisecond,
			"calls that are not counted once when they end")
	})
	return jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Service: "Echo", Timeout: timeout, Logger: quiet, Stats: stats})
}

// dialRaw returns a calling end, for messages written by hand.
func dialRaw(t *testing.T, transport Transport) *rawConn {
	conn := transport.Dial(t)
	open(t, conn, 0)
	t.Cleanup(func() { assert.NoError(t, conn.Close()) })
	return &rawConn{conn}
}

// open opens a Conn as a codec would.
func open(t *testing.T, conn interface{ Open(jsonrpc2.Settings) error }, inFlight int) {
	t.Helper()
	require.NoError(t, conn.Open(jsonrpc2.Settings{
		MessageSize: jsonrpc2.DefaultMaxMessageSize,
		InFlight:    inFlight,
		Lost:        func(body []byte, why error) { assert.NoError(t, why, "lost: %s", body) },
	}))
}

type rawConn struct{ jsonrpc2.ClientConn }

// write sends a message written by hand.
func (c *rawConn) write(t *testing.T, body string) {
	t.Helper()
	require.NoError(t, c.WriteRequest(newRequest(t, body)))
}

// newRequest returns a request that must not fail.
func newRequest(t *testing.T, body string) *jsonrpc2.Request {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return jsonrpc2.NewRequest(ctx, []byte(body), jsonrpc2.Hooks{
		Fail: func(err error) { assert.NoError(t, err, body) },
	})
}

// read returns the next message, decoded.
func (c *rawConn) read(t *testing.T) any {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	reply, err := c.ReadReply(ctx)
	require.NoError(t, err)
	var v any
	require.NoError(t, json.Unmarshal(reply.Body, &v), "%s", reply.Body)
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

func receive[T any](t testing.TB, from <-chan T) (item T) {
	t.Helper()
	select {
	case item = <-from:
	case <-time.After(patience):
		require.FailNow(t, "nothing received")
	}
	return item
}

// readRequest reads one message.
func readRequest(t *testing.T, conn jsonrpc2.ServerConn) jsonrpc2.Delivery {
	t.Helper()
	return awaitRequest(t, readLater(conn))
}

// readLater reads one message in the background. Its context is never done: that would be a
// drain.
func readLater(conn jsonrpc2.ServerConn) <-chan jsonrpc2.Delivery {
	read := make(chan jsonrpc2.Delivery, 1)
	go func() {
		d, err := conn.ReadRequest(context.Background())
		if err == nil {
			read <- d
		}
	}()
	return read
}

// requireNone makes sure that nothing is read, as no place is free.
func requireNone(t *testing.T, read <-chan jsonrpc2.Delivery) {
	t.Helper()
	select {
	case <-read:
		require.Fail(t, "more requests than places")
	case <-time.After(100 * time.Millisecond):
	}
}

func awaitRequest(t *testing.T, read <-chan jsonrpc2.Delivery) jsonrpc2.Delivery {
	t.Helper()
	select {
	case d := <-read:
		require.NoError(t, d.Err)
		return d
	case <-time.After(patience):
		require.FailNow(t, "no request")
		return jsonrpc2.Delivery{}
	}
}

// newID returns an id that nobody else has.
func newID() string { return rand.Text() }
