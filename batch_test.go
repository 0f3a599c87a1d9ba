package jsonrpc2_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/rpc"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

func TestBatchLoneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		before := time.Now()
		for i := range 3 { // none waits for the answer of another
			call := b.call("A", 0)
			sent := b.sent()
			require.Len(t, sent, 1)
			require.Regexp(t, fmt.Sprintf(`^\{"jsonrpc":"2\.0","id":"[0-9a-f]{16}-%d","method":"Test\.A"\}$`, i), sent[0])
			call.requireWaiting(t)
		}
		requireSent(t, b.notify("B", []int{1}))
		require.Equal(t, []string{`{"jsonrpc":"2.0","method":"Test.B","params":[1]}`}, b.sent())
		require.Equal(t, before, time.Now(), "nothing waits for company")
	})
}

// While messages are unanswered, requests wait for more: see RFC 896.
func TestBatchWaitsForMore(t *testing.T) {
	const pause = 200 * time.Microsecond
	for name, test := range map[string]struct {
		opts *jsonrpc2.BatchOptions
		end  func(b *batching, slow *batched, request request) // of the wait
		want time.Duration
	}{
		"until the pause is over": {nil, func(*batching, *batched, request) { time.Sleep(pause) }, pause},
		"until one is answered": {nil, func(b *batching, _ *batched, request request) {
			time.Sleep(pause / 4)
			b.answer(answerTo(request))
		}, pause / 4},
		"until one is given up": {nil, func(_ *batching, slow *batched, _ request) {
			slow.cancel()
		}, 0},
		"until they fill a batch": {&jsonrpc2.BatchOptions{MaxItems: 3}, func(b *batching, _ *batched, _ request) {
			b.call("C", 0)
		}, 0},
		"until they fill its bytes": {&jsonrpc2.BatchOptions{MaxBytes: 150}, func(b *batching, _ *batched, _ request) {
			b.call("C", 0)
		}, 0},
		"until the client is closed": {nil, func(b *batching, _ *batched, _ request) { _ = b.batch.Close() }, 0},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			b := newBatching(t, test.opts)
			var slow *batched
			var unanswered request
			for range 4 {
				slow = b.call("Slow", 0)
				unanswered = requests(t, b.sent()[0])[0]
			}
			before := time.Now()
			b.call("A", 0)
			b.call("B", 0)
			require.Empty(t, b.sent(), "nothing waits for company")
			test.end(b, slow, unanswered)
			sent := b.sent()
			require.Equal(t, test.want, time.Since(before))
			require.NotEmpty(t, sent)
			require.Equal(t, []string{"A", "B"}, methods(t, sent[0])[:2])
		}))
	}
}

func TestBatchJoinsWhatWaits(t *testing.T) {
	request := len(`{"jsonrpc":"2.0","id":"0123456789abcdef-0","method":"Test.A"}`)
	names := strings.Split("ABCDEFGH", "")
	for _, test := range []struct {
		name string
		opts *jsonrpc2.BatchOptions
		want []string
	}{
		{"nil", nil, []string{"ABCDEFGH"}},
		{"zero", &jsonrpc2.BatchOptions{}, []string{"ABCDEFGH"}},
		{"MaxItems 8", &jsonrpc2.BatchOptions{MaxItems: 8}, []string{"ABCDEFGH"}},
		{"MaxItems 3", &jsonrpc2.BatchOptions{MaxItems: 3}, []string{"ABC", "DEF", "GH"}},
		{"MaxItems 7", &jsonrpc2.BatchOptions{MaxItems: 7}, []string{"ABCDEFG", "H"}},
		{"MaxItems 1", &jsonrpc2.BatchOptions{MaxItems: 1}, names},
		{"MaxBytes for 4", &jsonrpc2.BatchOptions{MaxBytes: 4*request + len("[,,,]")}, []string{"ABCD", "EFGH"}},
		{"MaxBytes for 4, but for one", &jsonrpc2.BatchOptions{MaxBytes: 4*request + len("[,,]")}, []string{"ABC", "DEF", "GH"}},
		{"MaxBytes 1", &jsonrpc2.BatchOptions{MaxBytes: 1}, names},
		{"both", &jsonrpc2.BatchOptions{MaxItems: 5, MaxBytes: 7 * request}, []string{"ABCDE", "FGH"}},
	} {
		t.Run(test.name, servicetest.Bubble(func(t *testing.T) {
			b := newBatching(t, test.opts)
			var calls []*batched
			sent := b.together(t, func() {
				for _, name := range names {
					calls = append(calls, b.call(name, 0))
				}
			})
			var got []string
			for _, message := range sent {
				items := requests(t, message)
				require.Equal(t, len(items) > 1, message[0] == '[', "one alone is no batch: %s", message)
				got = append(got, strings.Join(methods(t, message), ""))
				for _, r := range items {
					b.answer(answerTo(r))
				}
			}
			require.Equal(t, test.want, got)
			for _, call := range calls {
				call.requireAnswered(t)
			}
		}))
	}
}

func TestBatchDefaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		notify := func(n int, args any) func() {
			return func() {
				for range n {
					b.notify("A", args)
				}
			}
		}
		sent := b.together(t, notify(jsonrpc2.DefaultBatchItems+1, nil))
		require.Len(t, sent, 2)
		require.Len(t, requests(t, sent[0]), jsonrpc2.DefaultBatchItems)

		sent = b.together(t, notify(20, strings.Repeat("x", 20<<10)))
		require.Len(t, sent, 2)
		require.Len(t, requests(t, sent[0]), 12)
		require.LessOrEqual(t, len(sent[0]), jsonrpc2.DefaultBatchBytes)

		sent = b.together(t, notify(2, strings.Repeat("x", jsonrpc2.DefaultBatchBytes)))
		require.Len(t, sent, 2, "one that is longer travels alone")
	})
}

// A message that is a batch itself is not joined with others: JSON-RPC has no batches within
// batches.
func TestBatchOfBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		single, batch := `{"jsonrpc":"2.0","method":"Test.A"}`, `[{"jsonrpc":"2.0","method":"Test.B"}]`
		sent := b.together(t, func() {
			for _, body := range []string{single, single, batch, single, batch, batch, single, single} {
				require.NoError(t, b.batch.WriteRequest(rawRequest(t, body)))
			}
		})
		pair := "[" + single + "," + single + "]"
		require.Equal(t, []string{pair, batch, single, batch, batch, pair}, sent)
	})
}

func TestBatchCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		body := []byte(`{"method":"A"}`)
		sent := b.together(t, func() {
			require.NoError(t, b.batch.WriteRequest(jsonrpc2.NewRequest(t.Context(), body, jsonrpc2.Hooks{})))
			clear(body)
		})
		require.Equal(t, []string{`{"method":"A"}`}, sent)
	})
}

func TestBatchClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		var calls []*batched
		sent := b.together(t, func() {
			calls = append(calls, b.call("A", 0), b.call("B", 0))
			for range 3 { // at once
				go func() { assert.NoError(t, b.batch.Close()) }()
			}
			synctest.Wait()
			require.ErrorIs(t, b.batch.WriteRequest(rawRequest(t, "{}")), net.ErrClosed)
		})
		require.Len(t, sent, 1)
		require.Equal(t, []string{"A", "B"}, methods(t, sent[0]), "what waits is sent")
		for _, call := range calls {
			call.requireDone(t)
			require.Error(t, call.err)
		}
		require.NoError(t, b.batch.Close())
		_, err := b.batch.ReadReply(t.Context())
		require.ErrorIs(t, err, io.EOF)
		select {
		case <-b.conn.closed:
		default:
			require.Fail(t, "the Conn is not closed")
		}
	})
}

func TestBatchOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newScriptedClient()
		batch := jsonrpc2.Batch(conn, nil)
		client := jsonrpc2.NewClient(batch, &jsonrpc2.ClientOptions{MaxMessageSize: 12345})
		requireSettings(t, conn.settings, 12345, 0)
		require.ErrorIs(t, batch.Open(jsonrpc2.Settings{}), jsonrpc2.ErrOpened)
		require.NoError(t, batch.Err())
		require.NoError(t, client.Close())
		require.ErrorIs(t, batch.Err(), net.ErrClosed)
	})
}

// A server's limit holds for each item, and its items run side by side.
func TestBatchServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there, here := net.Pipe()
		slow := servicetest.NewSlow()
		ctx, drain := context.WithCancel(context.Background())
		served := make(chan error, 1)
		opts := &jsonrpc2.ServerOptions{MaxInFlight: 3, Logger: servicetest.Quiet}
		go func() { served <- jsonrpc2.Serve(ctx, newServer(t, slow), jsonrpc2.NewStreamConn(there), opts) }()
		conn := &heldConn{scriptedClient: newScriptedClient()}
		b := &batching{conn: conn}
		b.client = jsonrpc2.NewClient(jsonrpc2.Batch(relay{conn, jsonrpc2.NewStreamConn(here)}, nil), &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})

		var calls []*rpc.Call
		sent := b.together(t, func() {
			for i := range 10 {
				calls = append(calls, b.client.Go("Slow.Wait", i, new(int), nil))
			}
		})
		require.Len(t, sent, 1)
		require.EqualValues(t, 3, slow.Running.Load())
		slow.Open()
		for i, call := range calls {
			require.NoError(t, (<-call.Done).Error)
			require.Equal(t, i, *call.Reply.(*int))
		}
		drain()
		require.NoError(t, <-served)
		require.NoError(t, b.client.Close())
	})
}
