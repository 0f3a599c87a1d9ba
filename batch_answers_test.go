package jsonrpc2_test

import (
	"fmt"
	"net/rpc"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

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
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
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
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			b := newBatching(t, nil)
			calls, _ := b.calls(t, "A", "B", "C")
			b.answer(text)
			requireRefused(t, calls...)
			require.EqualValues(t, 3, b.stats.Snapshot().Errors)
			require.Zero(t, b.stats.Snapshot().Dropped)
			b.requireNothingLeft(t)
			require.Empty(t, b.log.take())
		}))
	}
	t.Run("a plain call", servicetest.Bubble(func(t *testing.T) {
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
	t.Run("as the transport says", servicetest.Bubble(func(t *testing.T) {
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
		require.EqualValues(t, 2, b.stats.Snapshot().Errors)
	}))
	t.Run("while others wait to be sent", servicetest.Bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B")
		b.conn.hold()
		b.notify("Busy", nil)
		unsent := b.call("C", 0)
		b.answer(namelessError)
		requireRefused(t, calls...)
		unsent.requireWaiting(t)
		b.conn.release()
		sent := b.sent()
		b.answer(answerTo(requests(t, sent[len(sent)-1])[0]))
		unsent.requireAnswered(t)
	}))
	t.Run("in part", servicetest.Bubble(func(t *testing.T) {
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
	t.Run("alone", servicetest.Bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		lone := b.call("A", 0)
		b.answer(namelessError)
		requireRefused(t, lone)
	}))
}

// An error without an id that may be about any of several messages fails no call.
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
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			b := newBatching(t, nil)
			calls := begin(t, b)
			b.answer(namelessError)
			require.EqualValues(t, 1, b.stats.Snapshot().Dropped)
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
	t.Run("no error object", servicetest.Bubble(func(t *testing.T) {
		b := newBatching(t, nil)
		calls, _ := b.calls(t, "A", "B")
		b.answer(
			`{"jsonrpc":"2.0","id":null,"error":"no"}`, `{"jsonrpc":"2.0","id":null,"result":1}`,
			`{"jsonrpc":"2.0","id":"","error":{"code":1,"message":"m"}}`, `null`, `{}`, `[null]`)
		for _, call := range calls {
			call.requireWaiting(t)
		}
	}))
	t.Run("without Batch", servicetest.Bubble(func(t *testing.T) {
		conn, stats := newScriptedClient(), new(jsonrpc2.ClientStats)
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Stats: stats, Logger: servicetest.Quiet})
		defer client.Close()
		call := client.Go("Test.A", nil, nil, nil)
		conn.answer(namelessError)
		require.ErrorContains(t, (<-call.Done).Error, jsonrpc2.ErrTimeout.Error())
		require.EqualValues(t, 1, stats.Snapshot().Dropped)
	}))
}

// If the transport says which message a broken reply answers, the calls of that message fail
// at once: no other answer will come.
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

// A batch that is answered was sent, even if its Conn has not called Sent yet. So a
// notification in it does not fail with the error of the calls.
func TestBatchAnsweredBeforeSent(t *testing.T) {
	for name, test := range map[string]struct {
		answers func(r []request) string
		sent    bool
	}{
		"each call":             {func(r []request) string { return array(answerTo(r[0]), answerTo(r[1])) }, true},
		"one call":              {func(r []request) string { return array(answerTo(r[1])) }, true},
		"a call with an error":  {func(r []request) string { return `{"jsonrpc":"2.0","id":` + string(r[0].ID) + `,"error":{"code":7}}` }, true},
		"none":                  {func([]request) string { return `[]` }, false},
		"an id of nobody":       {func([]request) string { return `{"jsonrpc":"2.0","id":"x","result":1}` }, false},
		"a text that is broken": {func([]request) string { return `503` }, false},
	} {
		t.Run(name, servicetest.Bubble(func(t *testing.T) {
			b := newBatching(t, nil)
			b.conn.mute()
			var notified <-chan error
			sent := b.together(t, func() {
				b.call("A", 0)
				b.call("B", 0)
				notified = b.notify("C", nil)
			})
			require.Len(t, sent, 1)
			b.conn.messages <- jsonrpc2.Reply{
				Body:    []byte(test.answers(requests(t, sent[0]))),
				Request: b.conn.last(),
				Missing: jsonrpc2.ErrOverloaded,
			}
			synctest.Wait()
			require.Len(t, notified, 1)
			if err := <-notified; test.sent {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
			}
		}))
	}
}
