package jsonrpc2_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/rpc"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
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
	stats  *jsonrpc2.Stats
	log    *recorder
}

func newBatching(t *testing.T, opts *jsonrpc2.BatchOptions) *batching {
	b := &batching{
		conn:  &heldConn{scriptedClient: newScriptedClient()},
		stats: new(jsonrpc2.Stats),
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
	require.NoError(t, jsonrpc2.Notify(b.client, "Test.Busy", nil))
	synctest.Wait()
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

// bubble runs a test in a synctest bubble.
func bubble(test func(*testing.T)) func(*testing.T) {
	return func(t *testing.T) { synctest.Test(t, test) }
}

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
		require.NoError(t, jsonrpc2.Notify(b.client, "Test.B", []int{1}))
		require.Equal(t, []string{`{"jsonrpc":"2.0","method":"Test.B","params":[1]}`}, b.sent())
		require.Equal(t, before, time.Now(), "nothing waits for company")
	})
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
		t.Run(test.name, bubble(func(t *testing.T) {
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
					require.NoError(t, jsonrpc2.Notify(b.client, "Test.A", args))
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

func rawRequest(t *testing.T, body string) *jsonrpc2.Request {
	return jsonrpc2.NewRequest(t.Context(), []byte(body), jsonrpc2.Hooks{})
}

// A batch within a batch would be none.
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

func TestBatchAnswers(t *testing.T) {
	const unknown, garbage = `{"jsonrpc":"2.0","id":"somebody else's","result":1}`, `[{"jsonrpc`
	for name, arrange := range map[string]func(answers []string) []string{
		"one array":        func(a []string) []string { return []string{array(a...)} },
		"the other way":    func(a []string) []string { return []string{array(a[3], a[2], a[1], a[0])} },
		"two arrays":       func(a []string) []string { return []string{array(a[1], a[3]), array(a[2], a[0])} },
		"arrays of one":    func(a []string) []string { return []string{array(a[1]), array(a[0]), array(a[3]), array(a[2])} },
		"singles":          func(a []string) []string { return []string{a[2], a[0], a[1], a[3]} },
		"all ways":         func(a []string) []string { return []string{a[2], array(a[3], a[0]), array(a[1])} },
		"with others":      func(a []string) []string { return []string{unknown, array(append(a, unknown)...)} },
		"garbage between":  func(a []string) []string { return []string{a[0], garbage, array(a[1:]...)} },
		"empty in between": func(a []string) []string { return []string{`[]`, array(a[1:]...), ` [ ] `, a[0]} },
		"twice":            func(a []string) []string { return []string{array(append(a, a...)...), array(a...)} },
	} {
		t.Run(name, bubble(func(t *testing.T) {
			b := newBatching(t, nil)
			calls, batch := b.calls(t, "A", "B", "C", "D")
			var answers []string
			for _, r := range requests(t, batch) {
				answers = append(answers, answerTo(r))
			}
			b.answer(arrange(answers)...)
			for _, call := range calls {
				call.requireAnswered(t)
			}
			b.requireNothingLeft(t)
		}))
	}
}

func array(items ...string) string { return "[" + strings.Join(items, ",") + "]" }

// Each item of a batch may have an error of its own.
func TestBatchErrorsOfItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		calls, batch := b.calls(t, "A", "B", "C")
		r := requests(t, batch)
		b.answer(array(
			fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":7,"message":"no"}}`, r[1].ID),
			fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":5}`, r[2].ID), // a string is wanted
			answerTo(r[0])))
		calls[0].requireAnswered(t)
		calls[1].requireDone(t)
		require.Equal(t, &jsonrpc2.Error{Code: 7, Message: "no"}, calls[1].err)
		calls[2].requireDone(t)
		require.ErrorIs(t, calls[2].err, jsonrpc2.ErrBadReply)
	})
}

func TestBatchCallsEndApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		var calls []*batched
		sent := b.together(t, func() {
			calls = append(calls, b.call("A", 0), b.call("B", time.Second), b.call("C", 0), b.call("D", 0))
		})
		require.Len(t, sent, 1)
		calls[0].cancel()
		calls[0].requireDone(t)
		require.ErrorIs(t, calls[0].err, context.Canceled)
		time.Sleep(time.Second)
		calls[1].requireDone(t)
		require.ErrorIs(t, calls[1].err, jsonrpc2.ErrTimeout)
		calls[2].requireWaiting(t)

		r := requests(t, sent[0])
		b.answer(array(answerTo(r[0]), answerTo(r[1]), answerTo(r[2])))
		calls[2].requireAnswered(t)
		time.Sleep(jsonrpc2.DefaultTimeout - time.Second - 1)
		calls[3].requireWaiting(t)
		time.Sleep(time.Nanosecond)
		calls[3].requireDone(t)
		require.ErrorIs(t, calls[3].err, jsonrpc2.ErrTimeout)
		require.EqualValues(t, 2, b.stats.Dropped.Load(), "answers that came late")
		b.requireNothingLeft(t)
	})
}

// A call that is given up while it waits is not sent.
func TestBatchGivenUpUnsent(t *testing.T) {
	for _, test := range []struct {
		canceled string
		want     []string
	}{
		{"A", []string{"BC"}},
		{"B", []string{"AC"}},
		{"AC", []string{"B"}},
		{"ABC", nil},
		{"", []string{"ABC"}},
	} {
		t.Run("not "+test.canceled, bubble(func(t *testing.T) {
			b := newBatching(t, nil)
			sent := b.together(t, func() {
				for _, name := range []string{"A", "B", "C"} {
					call := b.call(name, 0)
					if strings.Contains(test.canceled, name) {
						call.cancel()
						call.requireDone(t)
						require.ErrorIs(t, call.err, context.Canceled)
					}
				}
			})
			var got []string
			for _, message := range sent {
				got = append(got, strings.Join(methods(t, message), ""))
			}
			require.Equal(t, test.want, got)
		}))
	}
	t.Run("timed out", bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		sent := b.together(t, func() {
			late := b.client.Go("Test.Late", nil, nil, nil)
			time.Sleep(jsonrpc2.DefaultTimeout)
			require.ErrorContains(t, (<-late.Done).Error, jsonrpc2.ErrTimeout.Error())
		})
		require.Empty(t, sent)
	}))
}

func TestBatchContext(t *testing.T) {
	for _, test := range []struct {
		name     string
		timeouts []time.Duration // 0: the client's own
		want     time.Duration
	}{
		{"the latest", []time.Duration{time.Second, time.Minute, time.Millisecond}, time.Minute},
		{"the first", []time.Duration{time.Hour, time.Minute}, time.Hour},
		{"the client's", []time.Duration{time.Second, 0}, jsonrpc2.DefaultTimeout},
		{"beyond the client's", []time.Duration{time.Hour, 0}, time.Hour},
		{"of one", []time.Duration{time.Hour}, time.Hour},
	} {
		t.Run(test.name, bubble(func(t *testing.T) {
			b := newBatching(t, nil)
			b.together(t, func() {
				for i, timeout := range test.timeouts {
					b.call(string(rune('A'+i)), timeout)
				}
			})
			ctx := b.conn.last().Context()
			requireDeadline(t, ctx, test.want)
			require.Equal(t, "A", ctx.Value(traceKey{}))
			time.Sleep(test.want - 1)
			require.NoError(t, ctx.Err())
			time.Sleep(time.Nanosecond)
			synctest.Wait()
			require.ErrorIs(t, ctx.Err(), context.DeadlineExceeded)
			<-ctx.Done()
		}))
	}
	t.Run("none", bubble(func(t *testing.T) {
		conn := &silentConn{newScriptedClient()}
		conn.refuse(nil)
		client := jsonrpc2.NewClient(jsonrpc2.Batch(conn, nil), &jsonrpc2.ClientOptions{Logger: quiet})
		defer client.Close()
		client.Go("Test.A", nil, nil, nil)
		require.NoError(t, jsonrpc2.Notify(client, "Test.B", nil))
		synctest.Wait()
		ctx := conn.last().Context()
		_, ok := ctx.Deadline()
		require.False(t, ok, "a notification has no deadline")
		begin := time.Now()
		<-ctx.Done()
		require.Equal(t, jsonrpc2.DefaultTimeout, time.Since(begin), "but its sender waits no longer")
	}))
	t.Run("all given up", bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B", "C")
		r := b.conn.last()
		for _, call := range calls {
			require.NoError(t, r.Context().Err())
			require.False(t, r.GivenUp())
			call.cancel()
			call.requireDone(t)
		}
		require.ErrorIs(t, r.Context().Err(), context.Canceled)
		require.True(t, r.GivenUp())
	}))
	t.Run("all answered", bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		_, batch := b.calls(t, "A", "B")
		r := b.conn.last()
		b.answer(answerTo(requests(t, batch)[1]))
		require.False(t, r.GivenUp())
		b.answer(answerTo(requests(t, batch)[0]))
		require.True(t, r.GivenUp())
	}))
}

// What a Conn does not take fails, and nothing else.
func TestBatchWriteRequestFails(t *testing.T) {
	refused := fmt.Errorf("%w: for a test", jsonrpc2.ErrUnavailable)
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		before, _ := b.calls(t, "A", "B")
		lone := b.call("C", 0)
		b.conn.hold()
		var failing []*batched
		failing = append(failing, b.call("D", 0)) // alone
		for _, name := range []string{"E", "F"} {
			failing = append(failing, b.call(name, 0))
		}
		require.NoError(t, jsonrpc2.Notify(b.client, "Test.G", nil))
		plain := b.client.Go("Test.H", nil, new(string), nil)
		b.conn.refuse(refused)
		b.conn.release()
		for _, call := range failing {
			call.requireDone(t)
			require.ErrorIs(t, call.err, jsonrpc2.ErrUnavailable)
			require.EqualError(t, call.err, refused.Error())
		}
		require.EqualError(t, (<-plain.Done).Error, refused.Error())
		for _, call := range append(before, lone) {
			call.requireWaiting(t)
		}
		require.EqualValues(t, 5, b.stats.Unsent.Load(), "with the notification")
		require.Zero(t, b.stats.Dropped.Load())

		require.NoError(t, jsonrpc2.Notify(b.client, "Test.I", nil)) // nobody can be told
		synctest.Wait()
		require.EqualValues(t, 6, b.stats.Unsent.Load())

		b.conn.refuse(nil)
		b.sent()
		after, batch := b.calls(t, "J", "K")
		r := requests(t, batch)
		b.answer(array(answerTo(r[1]), answerTo(r[0])))
		for _, call := range after {
			call.requireAnswered(t)
		}
	})
}

// Each part of a batch is told what becomes of it, also of a failure that comes later.
func TestBatchTellsItsParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B")
		r := b.conn.last()
		lost := fmt.Errorf("%w: for a test", jsonrpc2.ErrReplyLost)
		calls[0].cancel()
		calls[0].requireDone(t)
		r.Fail(lost)
		r.Fail(jsonrpc2.ErrUnavailable)
		calls[1].requireDone(t)
		require.Equal(t, lost, calls[1].err)
		require.ErrorIs(t, calls[0].err, context.Canceled)
		require.EqualValues(t, 1, b.stats.Errors.Load())
		b.requireNothingLeft(t)
	})
}

// Of a batch that may have been sent the notifications end, and its calls wait on.
func TestBatchUnconfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := &silentConn{newScriptedClient()}
		stats := new(jsonrpc2.Stats)
		codec := jsonrpc2.NewClientCodec(jsonrpc2.Batch(conn, nil), &jsonrpc2.ClientOptions{Logger: quiet, Stats: stats})
		client := rpc.NewClientWithCodec(codec)
		defer client.Close()
		call := client.Go("Test.A", nil, new(string), nil)
		require.NoError(t, jsonrpc2.Notify(client, "Test.B", nil))
		synctest.Wait()
		conn.last().Fail(fmt.Errorf("%w: for a test", jsonrpc2.ErrUnconfirmed))
		require.EqualValues(t, 1, stats.Errors.Load(), "the notification")
		require.False(t, conn.last().GivenUp())
		pending, _ := jsonrpc2.Pending(codec)
		require.Equal(t, 1, pending)
		conn.answer(answerTo(requests(t, string(conn.last().Body))[0]))
		require.NoError(t, (<-call.Done).Error)
		require.True(t, conn.last().GivenUp())
	})
}

const namelessError = `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"no batches here"}}`

func requireRefused(t *testing.T, calls ...*batched) {
	t.Helper()
	for _, call := range calls {
		call.requireDone(t)
		require.Equal(t, &jsonrpc2.Error{Code: -32600, Message: "no batches here"}, call.err, call.name)
	}
}

// A server that knows no batches answers one with one error, without an id.
func TestBatchRefusedWhole(t *testing.T) {
	for name, text := range map[string]string{
		"null":     namelessError,
		"no id":    strings.Replace(namelessError, `"id":null,`, "", 1),
		"an array": "[" + namelessError + "]",
	} {
		t.Run(name, bubble(func(t *testing.T) {
			b := newBatching(t, nil)
			calls, _ := b.calls(t, "A", "B", "C")
			b.answer(text)
			requireRefused(t, calls...)
			require.EqualValues(t, 3, b.stats.Errors.Load())
			require.Zero(t, b.stats.Dropped.Load())
			b.requireNothingLeft(t)
			require.Empty(t, b.log.take())
		}))
	}
	t.Run("a plain call", bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		var plain []*rpc.Call
		b.together(t, func() {
			for range 2 {
				plain = append(plain, b.client.Go("Test.A", nil, new(string), nil))
			}
		})
		b.answer(namelessError)
		for _, call := range plain {
			answer, ok := jsonrpc2.AsError((<-call.Done).Error)
			require.True(t, ok)
			require.Equal(t, &jsonrpc2.Error{Code: -32600, Message: "no batches here"}, answer)
		}
	}))
	t.Run("as the transport says", bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		first, _ := b.calls(t, "A", "B")
		second, _ := b.calls(t, "C", "D")
		secondRequest := b.conn.last()
		lone := b.call("E", 0)
		b.conn.messages <- jsonrpc2.Reply{Body: []byte(namelessError), Request: secondRequest}
		requireRefused(t, second...)
		for _, call := range append(first, lone) {
			call.requireWaiting(t)
		}
		require.EqualValues(t, 2, b.stats.Errors.Load())
	}))
	t.Run("while others wait to be sent", bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B")
		b.conn.hold()
		require.NoError(t, jsonrpc2.Notify(b.client, "Test.Busy", nil))
		synctest.Wait()
		unsent := b.call("C", 0)
		b.answer(namelessError)
		requireRefused(t, calls...)
		unsent.requireWaiting(t)
		b.conn.release()
		sent := b.sent()
		b.answer(answerTo(requests(t, sent[len(sent)-1])[0]))
		unsent.requireAnswered(t)
	}))
	t.Run("in part", bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		for _, known := range []bool{true, false} {
			calls, batch := b.calls(t, "A", "B", "C")
			r := requests(t, batch)
			reply := jsonrpc2.Reply{Body: []byte(array(namelessError, answerTo(r[0]), namelessError, answerTo(r[2])))}
			if known {
				reply.Request = b.conn.last()
			}
			b.conn.messages <- reply
			calls[0].requireAnswered(t)
			calls[2].requireAnswered(t)
			requireRefused(t, calls[1])
		}
		b.requireNothingLeft(t)
	}))
	t.Run("alone", bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		lone := b.call("A", 0)
		b.answer(namelessError)
		requireRefused(t, lone)
	}))
}

// An error without an id that may be about any of several messages is nobody's.
func TestBatchNamelessErrorOfNobody(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, b *batching) []*batched{
		"two batches": func(t *testing.T, b *batching) []*batched {
			first, _ := b.calls(t, "A", "B")
			second, _ := b.calls(t, "C", "D")
			return append(first, second...)
		},
		"a batch and a call": func(t *testing.T, b *batching) []*batched {
			calls, _ := b.calls(t, "A", "B")
			return append(calls, b.call("C", 0))
		},
		"two calls": func(_ *testing.T, b *batching) []*batched {
			return []*batched{b.call("A", 0), b.call("B", 0)}
		},
		"nothing": func(*testing.T, *batching) []*batched { return nil },
	} {
		t.Run(name, bubble(func(t *testing.T) {
			b := newBatching(t, nil)
			calls := begin(t, b)
			b.answer(namelessError)
			require.EqualValues(t, 1, b.stats.Dropped.Load())
			lines := b.log.take()
			require.Len(t, lines, 1)
			require.Equal(t, "jsonrpc2: reply that nobody waits for dropped", lines[0].Message)
			require.Contains(t, fmt.Sprint(lines[0].attrs), "no batches here")
			for _, call := range calls {
				call.requireWaiting(t)
			}
			time.Sleep(jsonrpc2.DefaultTimeout)
			for _, call := range calls {
				call.requireDone(t)
				require.ErrorIs(t, call.err, jsonrpc2.ErrTimeout)
			}
		}))
	}
	t.Run("no error object", bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B")
		b.answer(
			`{"jsonrpc":"2.0","id":null,"error":"no"}`, `{"jsonrpc":"2.0","id":null,"result":1}`,
			`{"jsonrpc":"2.0","id":"","error":{"code":1,"message":"m"}}`, `null`, `{}`, `[null]`)
		for _, call := range calls {
			call.requireWaiting(t)
		}
	}))
	t.Run("without Batch", bubble(func(t *testing.T) {
		conn, stats := newScriptedClient(), new(jsonrpc2.Stats)
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Stats: stats, Logger: quiet})
		defer client.Close()
		call := client.Go("Test.A", nil, nil, nil)
		conn.answer(namelessError)
		require.ErrorContains(t, (<-call.Done).Error, jsonrpc2.ErrTimeout.Error())
		require.EqualValues(t, 1, stats.Dropped.Load())
	}))
}

// What the transport knows to be the answer is the only one there will be.
func TestBatchBrokenAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B")
		request := b.conn.last()
		others, _ := b.calls(t, "C", "D")
		b.conn.messages <- jsonrpc2.Reply{Body: []byte(`[{"jsonrpc":`), Request: request}
		for _, call := range calls {
			call.requireDone(t)
			require.ErrorIs(t, call.err, jsonrpc2.ErrBadReply)
		}
		for _, call := range others {
			call.requireWaiting(t)
		}
	})
}

func TestBatchNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		var call *batched
		sent := b.together(t, func() {
			require.NoError(t, jsonrpc2.Notify(b.client, "Test.A", []int{1}))
			call = b.call("B", 0)
			require.NoError(t, jsonrpc2.Notify(b.client, "Test.C", nil))
		})
		require.Len(t, sent, 1)
		r := requests(t, sent[0])
		require.Len(t, r, 3)
		require.Nil(t, r[0].ID)
		require.JSONEq(t, `[1]`, string(r[0].Params))
		require.Nil(t, r[2].ID)
		b.answer(array(answerTo(r[1])))
		call.requireAnswered(t)

		sent = b.together(t, func() {
			require.NoError(t, jsonrpc2.Notify(b.client, "Test.A", nil))
			require.NoError(t, jsonrpc2.Notify(b.client, "Test.B", nil))
		})
		require.Equal(t, []string{`[{"jsonrpc":"2.0","method":"Test.A"},{"jsonrpc":"2.0","method":"Test.B"}]`}, sent)
		require.EqualValues(t, 6, b.stats.Notifications.Load(), "with two that kept the writer busy")
	})
}

func TestBatchOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		big := strings.Repeat("x", 1<<20)
		sent := b.together(t, func() {
			for range 15 {
				require.NoError(t, jsonrpc2.Notify(b.client, "Test.A", big))
			}
			require.ErrorIs(t, jsonrpc2.Notify(b.client, "Test.A", big), jsonrpc2.ErrOverloaded)
			_, err := jsonrpc2.Call[int](t.Context(), b.client, "Test.A", big)
			require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
			require.NoError(t, jsonrpc2.Notify(b.client, "Test.A", "small"))
		})
		require.Len(t, sent, 16)
		require.NoError(t, jsonrpc2.Notify(b.client, "Test.A", big), "there is room again")
		b.requireNothingLeft(t)
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

// The Conn's end is the Batch's.
func TestBatchConnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B")
		close(b.conn.messages)
		for _, call := range calls {
			call.requireDone(t)
			require.Error(t, call.err)
		}
		require.Error(t, b.client.Call("Test.C", nil, nil))
		require.NoError(t, b.codec.Close())
	})
}

// A server's limit holds for each item, and its items run side by side.
func TestBatchServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		there, here := net.Pipe()
		gate := newGate()
		ctx, drain := context.WithCancel(context.Background())
		served := make(chan error, 1)
		opts := &jsonrpc2.ServerOptions{MaxInFlight: 3, Logger: quiet}
		go func() { served <- jsonrpc2.Serve(ctx, newServer(t, gate), jsonrpc2.NewStreamConn(there), opts) }()
		conn := &heldConn{scriptedClient: newScriptedClient()}
		b := &batching{conn: conn}
		b.client = jsonrpc2.NewClient(jsonrpc2.Batch(relay{conn, jsonrpc2.NewStreamConn(here)}, nil), &jsonrpc2.ClientOptions{Logger: quiet})

		var calls []*rpc.Call
		sent := b.together(t, func() {
			for i := range 10 {
				calls = append(calls, b.client.Go("Gate.Pass", i, new(int), nil))
			}
		})
		require.Len(t, sent, 1)
		require.EqualValues(t, 3, gate.running.Load())
		gate.openWide()
		for i, call := range calls {
			require.NoError(t, (<-call.Done).Error)
			require.Equal(t, i, *call.Reply.(*int))
		}
		drain()
		require.NoError(t, <-served)
		require.NoError(t, b.client.Close())
	})
}

// A relay shows a heldConn what it sends over another Conn.
type relay struct {
	held *heldConn
	jsonrpc2.ClientConn
}

func (r relay) WriteRequest(request *jsonrpc2.Request) error {
	shown := jsonrpc2.NewRequest(context.Background(), request.Body, jsonrpc2.Hooks{})
	return errors.Join(r.held.WriteRequest(shown), r.ClientConn.WriteRequest(request))
}
