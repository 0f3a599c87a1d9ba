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
	"github.com/micromessaging/jsonrpc2/calc"
)

func TestRequestID(t *testing.T) {
	seen := make(map[string]bool)
	for range 2 { // clients
		p := newPeer(t, jsonrpc2.ClientOptions{})
		prefix := ""
		for seq := range 3 {
			call := p.client.Go("Calc.Add", calc.Args{A: 1, B: 2}, new(float64), nil)
			r := <-p.requests
			require.Regexp(t, fmt.Sprintf(`^"[0-9a-f]{16}-%d"$`, seq), string(r.ID))
			require.Equal(t, `{"jsonrpc":"2.0","id":`+string(r.ID)+`,"method":"Calc.Add","params":{"A":1,"B":2}}`, r.text)
			require.True(t, strings.HasPrefix(string(r.ID), prefix), "one prefix for a client")
			prefix = string(r.ID[:17])
			require.False(t, seen[string(r.ID)])
			seen[string(r.ID)] = true
			p.answer(t, r, "3")
			require.NoError(t, (<-call.Done).Error)
		}
	}
}

func TestRequestMethod(t *testing.T) {
	upper := func(method string) string { return strings.ToUpper(method) }
	for _, test := range []struct {
		opts   jsonrpc2.ClientOptions
		method string
		want   string
	}{
		{jsonrpc2.ClientOptions{}, "Calc.Add", "Calc.Add"},
		{jsonrpc2.ClientOptions{}, "add", "add"},
		{jsonrpc2.ClientOptions{}, ".Add", ".Add"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Calc.Add", "add"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Calc.AddAll", "addAll"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Calc.Äpfel", "äpfel"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Other.Add", "Other.Add"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "Calculator.Add", "Calculator.Add"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, "add", "add"},
		{jsonrpc2.ClientOptions{Service: "Calc"}, `Calc."<é>"`, `"<é>"`},
		{jsonrpc2.ClientOptions{Name: upper}, "Calc.Add", "CALC.ADD"},
		{jsonrpc2.ClientOptions{Name: upper, Service: "Calc"}, "Calc.Add", "CALC.ADD"},
	} {
		p := newPeer(t, test.opts)
		for range 2 { // the second time from the table of names
			require.NoError(t, jsonrpc2.Notify(p.client, test.method, nil))
			require.Equal(t, test.want, (<-p.requests).Method)
		}
	}
}

// TestReplies has a call answered by what is no answer to it, and by what is one
// in an odd form.
func TestReplies(t *testing.T) {
	const good = `{"jsonrpc":"2.0","id":ID,"result":7}`
	for _, test := range []struct {
		name    string
		reply   string
		want    int
		wantErr string // of the error's text
		is      error
	}{
		{name: "plain", reply: good, want: 7},
		{name: "members in another order", reply: `{"result":7,"id":ID,"jsonrpc":"2.0"}`, want: 7},
		{name: "method repeated", reply: `{"jsonrpc":"2.0","method":"Test.Call","id":ID,"result":7}`, want: 7},
		{name: "method null", reply: `{"jsonrpc":"2.0","method":null,"id":ID,"result":7}`, want: 7},
		{name: "extra members", reply: `{"trace":{"id":1},"jsonrpc":"2.0","id":ID,"result":7,"params":[1]}`, want: 7},
		{name: "error null", reply: `{"jsonrpc":"2.0","id":ID,"result":7,"error":null}`, want: 7},
		{name: "result null beside an error", reply: `{"jsonrpc":"2.0","id":ID,"result":null,"error":{"code":5,"message":"m"}}`, wantErr: "m (JSON-RPC error 5)"},
		{name: "escaped version", reply: `{"jsonrpc":"\u0032.0","id":ID,"result":7}`, want: 7},
		{name: "result null", reply: `{"jsonrpc":"2.0","id":ID,"result":null}`, want: 0},
		{name: "escaped member names", reply: `{"jsonrpc":"2.0","\u0069d":ID,"r\u0065sult":7}`, want: 7},
		{name: "in a batch", reply: `[{"jsonrpc":"2.0","id":"x","result":5},` + good + `]`, want: 7},
		{name: "alone in a batch", reply: `[` + good + `]`, want: 7},

		{name: "twice", reply: good + `{"jsonrpc":"2.0","id":ID,"result":8}`, want: 7},
		{name: "twice in a batch", reply: `[` + good + `,{"jsonrpc":"2.0","id":ID,"result":8}]`, want: 7},
		{name: "null id before", reply: `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"x"}}` + good, want: 7},
		{name: "no id before", reply: `{"jsonrpc":"2.0","result":8}` + good, want: 7},
		{name: "number ids before", reply: `{"id":0,"result":8}{"id":1,"result":8}{"id":-1,"result":8}{"id":0.5,"result":8}` + good, want: 7},
		{name: "foreign ids before", reply: `{"id":"","result":8}{"id":"-ID0","result":8}{"id":"x-ID","result":8}{"id":"0","result":8}` + good, want: 7},
		{name: "almost the id before", reply: `{"id":"-ID ","result":8}{"id":"-ID-","result":8}{"id":"0000000000000000-0","result":8}` + good, want: 7},
		{name: "id of another type before", reply: `{"id":[ID],"result":8}{"id":{"a":ID},"result":8}{"id":true,"result":8}` + good, want: 7},
		{name: "a request before", reply: `{"jsonrpc":"2.0","id":ID,"method":"a","params":[8]}` + good, want: 7},
		{name: "a notification before", reply: `{"jsonrpc":"2.0","method":"a"}` + good, want: 7},
		{name: "broken ones before", reply: "nonsense\n{\"id\":ID,\"result\":8\n" + good, want: 7},
		{name: "scalars before", reply: "1\nnull\n\"x\"\n[]\n[1,null]\n{}\n" + good, want: 7},

		{name: "neither result nor error", reply: `{"jsonrpc":"2.0","id":ID}`, wantErr: "neither a result nor an error", is: jsonrpc2.ErrBadReply},
		{name: "error null alone", reply: `{"jsonrpc":"2.0","id":ID,"error":null}`, wantErr: "neither a result nor an error", is: jsonrpc2.ErrBadReply},
		{name: "result and error", reply: `{"jsonrpc":"2.0","id":ID,"result":7,"error":{"code":5,"message":"both"}}`, wantErr: "both a result and an error", is: jsonrpc2.ErrBadReply},
		{name: "duplicate member", reply: `{"jsonrpc":"2.0","id":ID,"result":7,"result":8}`, wantErr: `duplicate member "result"`, is: jsonrpc2.ErrBadReply},
		{name: "wrong case", reply: `{"jsonrpc":"2.0","id":ID,"Result":7}`, wantErr: `must be written "result"`, is: jsonrpc2.ErrBadReply},
		{name: "error", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":-32601,"message":"gone","data":[1]}}`, wantErr: "gone (JSON-RPC error -32601, data [1])"},
		{name: "error with data null", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":5,"message":"m","data":null}}`, wantErr: "m (JSON-RPC error 5, data null)"},
		{name: "error with extra members", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":5,"message":"m","stack":["x"]}}`, wantErr: "m (JSON-RPC error 5)"},
		{name: "no version", reply: `{"id":ID,"result":7}`, wantErr: `member "jsonrpc" must be "2.0"`, is: jsonrpc2.ErrBadReply},
		{name: "another version", reply: `{"jsonrpc":"1.0","id":ID,"result":7}`, wantErr: `member "jsonrpc" must be "2.0"`, is: jsonrpc2.ErrBadReply},
		{name: "version of another type", reply: `{"jsonrpc":2.0,"id":ID,"result":7}`, wantErr: `member "jsonrpc" must be "2.0"`, is: jsonrpc2.ErrBadReply},
		{name: "an error without version", reply: `{"id":ID,"error":{"code":5,"message":"m"}}`, wantErr: `member "jsonrpc" must be "2.0"`, is: jsonrpc2.ErrBadReply},
		{name: "plain error", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":-32000,"message":"divide by zero"}}`, wantErr: "divide by zero"},
		{name: "error that is a string", reply: `{"jsonrpc":"2.0","id":ID,"error":"divide by zero"}`, wantErr: "error that is no object: \"divide by zero\"", is: jsonrpc2.ErrBadReply},
		{name: "error that is a number", reply: `{"jsonrpc":"2.0","id":ID,"error":0}`, wantErr: "error that is no object: 0", is: jsonrpc2.ErrBadReply},
		{name: "error that is false", reply: `{"jsonrpc":"2.0","id":ID,"error":false}`, wantErr: "error that is no object: false", is: jsonrpc2.ErrBadReply},
		{name: "error that is an array", reply: `{"jsonrpc":"2.0","id":ID,"error":[1]}`, wantErr: "error that is no object: [1]", is: jsonrpc2.ErrBadReply},
		{name: "error that is empty", reply: `{"jsonrpc":"2.0","id":ID,"error":{}}`, wantErr: "error's code must be an integer: {}", is: jsonrpc2.ErrBadReply},
		{name: "error with a code in words", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":"E5","message":"m"}}`, wantErr: "error's code must be an integer", is: jsonrpc2.ErrBadReply},
		{name: "error with a code in quotes", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":"5","message":"m"}}`, wantErr: "error's code must be an integer", is: jsonrpc2.ErrBadReply},
		{name: "error with half a code", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":5.5,"message":"m"}}`, wantErr: "error's code must be an integer", is: jsonrpc2.ErrBadReply},
		{name: "error with an endless code", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":1e999,"message":"m"}}`, wantErr: "error's code must be an integer", is: jsonrpc2.ErrBadReply},
		{name: "error with a code beyond integers", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":1e300,"message":"m"}}`, wantErr: "error's code must be an integer", is: jsonrpc2.ErrBadReply},
		{name: "error without a code", reply: `{"jsonrpc":"2.0","id":ID,"error":{"message":"m"}}`, wantErr: "error's code must be an integer", is: jsonrpc2.ErrBadReply},
		{name: "error without a message", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":5}}`, wantErr: "error's message must be a string", is: jsonrpc2.ErrBadReply},
		{name: "error with a message that is none", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":5,"message":["m"]}}`, wantErr: "error's message must be a string", is: jsonrpc2.ErrBadReply},
		{name: "error with a message null", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":5,"message":null}}`, wantErr: "error's message must be a string", is: jsonrpc2.ErrBadReply},
		{name: "error whose code has another case", reply: `{"jsonrpc":"2.0","id":ID,"error":{"CODE":5,"message":"m"}}`, wantErr: "error's member \"CODE\" must be written \"code\"", is: jsonrpc2.ErrBadReply},
		{name: "error whose message has another case", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":5,"Message":"m"}}`, wantErr: "must be written \"message\"", is: jsonrpc2.ErrBadReply},
		{name: "error whose code stands twice", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":5,"code":6,"message":"m"}}`, wantErr: "error's member \"code\" stands twice", is: jsonrpc2.ErrBadReply},
		{name: "error with a code of another form", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":-32601.0,"message":"gone"}}`, wantErr: "gone (JSON-RPC error -32601)"},
		{name: "error with a code in thousands", reply: `{"jsonrpc":"2.0","id":ID,"error":{"code":-3.2601e4,"message":"gone"}}`, wantErr: "gone (JSON-RPC error -32601)"},
		{name: "error with an escaped member", reply: `{"jsonrpc":"2.0","id":ID,"error":{"c\u006fde":5,"message":"m"}}`, wantErr: "m (JSON-RPC error 5)"},
		{name: "giant", reply: `{"jsonrpc":"2.0","id":ID,"result":"` + strings.Repeat("x", 2000) + `"}`, wantErr: "exceeds the limit of 1000", is: jsonrpc2.ErrTooLarge},
		{name: "giant in many reads", reply: `{"jsonrpc":"2.0","id":ID,"result":"` + strings.Repeat("x", 200_000) + `"}`, wantErr: "exceeds the limit of 1000", is: jsonrpc2.ErrTooLarge},
		{name: "deep", reply: `{"jsonrpc":"2.0","id":ID,"result":[[[[[[7]]]]]]}`, wantErr: "nesting exceeds the limit of 5", is: jsonrpc2.ErrTooLarge},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPeer(t, jsonrpc2.ClientOptions{MaxMessageSize: 1000, MaxDepth: 5})
			check := func(got int, err error) {
				t.Helper()
				require.Equal(t, test.want, got)
				if test.wantErr == "" {
					require.NoError(t, err)
					return
				}
				require.ErrorContains(t, err, test.wantErr)
			}

			typed := make(chan error, 1)
			var result int
			go func() {
				var err error
				result, err = jsonrpc2.Call[int](t.Context(), p.client, "Test.Call", nil)
				typed <- err
			}()
			p.send(t, <-p.requests, test.reply)
			err := <-typed
			check(result, err)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			p.requireAlive(t)

			result = 0
			plain := p.client.Go("Test.Call", nil, &result, nil)
			p.send(t, <-p.requests, test.reply)
			err = (<-plain.Done).Error
			check(result, err)
			if test.is != nil {
				require.True(t, strings.HasPrefix(err.Error(), test.is.Error()), "%s", err)
			}
			p.requireAlive(t)
			p.requireNothingLeft(t)
		})
	}
}

// A result of the wrong type fails a Call alone; of a plain client.Call it is an
// error, too, after which net/rpc ends the client.
func TestReplyOfWrongType(t *testing.T) {
	p := newPeer(t, jsonrpc2.ClientOptions{})
	for _, reply := range []string{`"seven"`, `7.5`, `[7]`, `{"a":7}`, `1e400`, `true`} {
		typed := make(chan error, 1)
		go func() {
			got, err := jsonrpc2.Call[int](t.Context(), p.client, "Test.Call", nil)
			assert.Zero(t, got)
			typed <- err
		}()
		p.answer(t, <-p.requests, reply)
		err := <-typed
		require.ErrorIs(t, err, jsonrpc2.ErrBadReply)
		_, answered := jsonrpc2.AsError(err)
		require.False(t, answered, "no server sent that error")
		p.requireAlive(t)
	}
	p.requireNothingLeft(t)

	other := p.client.Go("Test.Other", nil, new(int), nil)
	<-p.requests
	plain := p.client.Go("Test.Call", nil, new(int), nil)
	p.answer(t, <-p.requests, `"seven"`)
	require.ErrorContains(t, (<-plain.Done).Error, jsonrpc2.ErrBadReply.Error())
	require.Error(t, (<-other.Done).Error)
	require.ErrorIs(t, p.client.Call("Test.Late", nil, new(int)), rpc.ErrShutdown)
}

// Unsent counts the calls of which it is certain that they did not run.
func TestFailuresAreCounted(t *testing.T) {
	for _, test := range []struct {
		err            error
		unsent, errors int64
	}{
		{jsonrpc2.ErrUnavailable, 1, 0},
		{jsonrpc2.ErrNoServer, 1, 0},
		{jsonrpc2.ErrOverloaded, 1, 0},
		{jsonrpc2.ErrTooLarge, 1, 0},
		{jsonrpc2.ErrReplyLost, 0, 1},
		{jsonrpc2.ErrBadReply, 0, 1},
	} {
		for _, missing := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				conn, stats := newScriptedClient(), new(jsonrpc2.Stats)
				client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: quiet, Stats: stats})
				defer client.Close()
				call := client.Go("Test.Call", nil, nil, nil)
				<-conn.written
				if missing {
					conn.messages <- jsonrpc2.Reply{Body: []byte("[]"), Request: conn.last(), Missing: test.err}
				} else {
					conn.last().Fail(test.err)
				}
				require.EqualError(t, (<-call.Done).Error, test.err.Error())
				require.Equal(t, test.unsent, stats.Unsent.Load(), "%v", test.err)
				require.Equal(t, test.errors, stats.Errors.Load(), "%v", test.err)
			})
		}
	}
}

// What a stranger puts into the text of an error that is no server's does not make
// it one.
func TestFailureIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newScriptedClient()
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: quiet})
		defer client.Close()
		call := client.Go("Test.Call", nil, nil, nil)
		refused := fmt.Errorf("%w: the proxy says: no (JSON-RPC error 5)", jsonrpc2.ErrUnavailable)
		<-conn.written
		conn.last().Fail(refused)
		err := (<-call.Done).Error
		require.EqualError(t, err, refused.Error()+".")
		_, answered := jsonrpc2.AsError(err)
		require.False(t, answered)
	})
}

// Whoever calls without a reply wants to know whether it worked, no more.
func TestReplyUnwanted(t *testing.T) {
	p := newPeer(t, jsonrpc2.ClientOptions{})
	call := p.client.Go("Test.Call", nil, nil, nil)
	p.answer(t, <-p.requests, `{"a":7}`)
	require.NoError(t, (<-call.Done).Error)
	p.requireAlive(t)
}

// A panic in an UnmarshalJSON is an error of that call.
func TestReplyPanics(t *testing.T) {
	p := newPeer(t, jsonrpc2.ClientOptions{})
	typed := make(chan error, 1)
	go func() {
		_, err := jsonrpc2.Call[Panicker](t.Context(), p.client, "Test.Call", nil)
		typed <- err
	}()
	p.answer(t, <-p.requests, "1")
	err := <-typed
	require.ErrorIs(t, err, jsonrpc2.ErrBadReply)
	require.ErrorContains(t, err, "panic")
	p.requireAlive(t)
}

// Arguments that can't be sent fail that call alone.
func TestRequestUnsendable(t *testing.T) {
	stats := new(jsonrpc2.Stats)
	p := newPeer(t, jsonrpc2.ClientOptions{MaxMessageSize: 1000, Stats: stats})
	for name, test := range map[string]struct {
		args any
		want string
	}{
		"channel":   {make(chan int), "jsonrpc2: arguments of Test.Call: json: unsupported type"},
		"panic":     {Panicker{}, "jsonrpc2: arguments of Test.Call: panic"},
		"UTF-8":     {json.RawMessage("\"\xff\""), "jsonrpc2: arguments of Test.Call: not valid UTF-8"},
		"too large": {strings.Repeat("x", 2000), jsonrpc2.ErrTooLarge.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, p.client.Call("Test.Call", test.args, new(int)), test.want)
			require.ErrorContains(t, jsonrpc2.Notify(p.client, "Test.Call", test.args), test.want)
			_, err := jsonrpc2.Call[int](t.Context(), p.client, "Test.Call", test.args)
			require.ErrorContains(t, err, test.want)
			p.requireAlive(t)
			p.requireNothingLeft(t)
		})
	}
	_, err := jsonrpc2.Call[int](t.Context(), p.client, "Test.Call", strings.Repeat("x", 2000))
	require.ErrorIs(t, err, jsonrpc2.ErrTooLarge)
}

// The client ends with its stream, and says so to every call.
func TestClientEndsWithStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t, jsonrpc2.ClientOptions{})
		call := p.client.Go("Test.Call", nil, new(int), nil)
		typed := make(chan error, 1)
		go func() {
			_, err := jsonrpc2.Call[int](t.Context(), p.client, "Test.Call", nil)
			typed <- err
		}()
		synctest.Wait()
		require.NoError(t, p.conn.Close())
		require.EqualError(t, (<-call.Done).Error, "jsonrpc2: reply lost: the connection has ended: unexpected EOF")
		err := <-typed
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.ErrorIs(t, err, jsonrpc2.ErrReplyLost)
		require.ErrorIs(t, p.client.Call("Test.Call", nil, nil), rpc.ErrShutdown)
		for _, err := range []error{callTest(t.Context(), p.client), jsonrpc2.Notify(p.client, "Test.Call", nil)} {
			require.ErrorIs(t, err, rpc.ErrShutdown)
			require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
		}
	})
}

func TestClientClose(t *testing.T) {
	p := newPeer(t, jsonrpc2.ClientOptions{})
	call := p.client.Go("Test.Call", nil, new(int), nil)
	<-p.requests
	require.NoError(t, p.client.Close())
	require.ErrorIs(t, (<-call.Done).Error, rpc.ErrShutdown)
	require.ErrorIs(t, p.client.Close(), rpc.ErrShutdown)
	_, err := jsonrpc2.Call[int](t.Context(), p.client, "Test.Call", nil)
	require.ErrorIs(t, err, rpc.ErrShutdown)
	require.ErrorIs(t, err, jsonrpc2.ErrUnavailable)
}

// A Conn says to each request what has become of it, once.
func TestRequestFails(t *testing.T) {
	conn := newScriptedClient()
	stats := new(jsonrpc2.Stats)
	client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: quiet, Stats: stats})
	defer client.Close()
	lost := fmt.Errorf("%w: the queue is gone", jsonrpc2.ErrNoServer)

	typed := make(chan error, 2)
	for range cap(typed) {
		go func() {
			_, err := jsonrpc2.Call[int](t.Context(), client, "Test.Call", nil)
			typed <- err
		}()
	}
	first := <-conn.written
	second := <-conn.written
	require.NotEqual(t, first, second)
	jsonrpc2.JoinRequests(nil, jsonrpc2.Hooks{}, conn.requests...).Fail(lost)
	for range cap(typed) {
		err := <-typed
		require.ErrorIs(t, err, lost)
		_, answered := jsonrpc2.AsError(err)
		require.False(t, answered)
	}

	plain := client.Go("Test.Call", nil, new(int), nil)
	<-conn.written
	for range 3 {
		conn.last().Fail(lost)
	}
	err := (<-plain.Done).Error
	require.EqualError(t, err, lost.Error())
	_, answered := jsonrpc2.AsError(err)
	require.False(t, answered)
	require.EqualValues(t, 3, stats.Unsent.Load())
}

// A notification that fails has nobody to tell it to: it is counted and logged.
func TestNotificationFails(t *testing.T) {
	for sentinel, unsent := range map[error]int64{jsonrpc2.ErrNoServer: 1, jsonrpc2.ErrUnconfirmed: 0} {
		synctest.Test(t, func(t *testing.T) {
			stats, log := new(jsonrpc2.Stats), new(recorder)
			conn := &silentConn{newScriptedClient()}
			codec := jsonrpc2.NewClientCodec(conn, &jsonrpc2.ClientOptions{Logger: slog.New(log), Stats: stats})
			client := rpc.NewClientWithCodec(codec)
			defer client.Close()
			require.NoError(t, jsonrpc2.Notify(client, "Test.Call", nil))
			conn.last().Fail(fmt.Errorf("%w: the queue is gone", sentinel))
			conn.last().Fail(fmt.Errorf("%w: again", sentinel))
			require.Equal(t, unsent, stats.Unsent.Load())
			require.Equal(t, 1-unsent, stats.Errors.Load())
			lines := log.take()
			require.Len(t, lines, 1)
			require.Equal(t, "jsonrpc2: notification failed", lines[0].Message)
			require.Contains(t, lines[0].attrs["error"], "the queue is gone")
			calls, failures := jsonrpc2.Pending(codec)
			require.Zero(t, calls+failures)
		})
	}
}

// A notification of which the Conn says nothing ends with the client's Timeout, and
// its request with it.
func TestNotificationTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stats, log := new(jsonrpc2.Stats), new(recorder)
		conn := &silentConn{newScriptedClient()}
		opts := &jsonrpc2.ClientOptions{Timeout: time.Minute, Logger: slog.New(log), Stats: stats}
		client := jsonrpc2.NewClient(conn, opts)
		defer client.Close()
		begin := time.Now()
		require.NoError(t, jsonrpc2.Notify(client, "Test.Call", nil))
		r := conn.last()
		require.True(t, r.Deadline().IsZero(), "it may run at any time")
		require.True(t, r.IsNotification())
		require.False(t, r.GivenUp())
		<-r.Context().Done()
		require.Equal(t, time.Minute, time.Since(begin))
		require.Equal(t, context.DeadlineExceeded, r.Context().Err())
		require.True(t, r.GivenUp())
		synctest.Wait()
		require.EqualValues(t, 1, stats.Timeouts.Load())
		require.Equal(t, "jsonrpc2: notification may not have been sent", log.take()[0].Message)
	})
}

// A silentConn does not say that anything was sent.
type silentConn struct{ *scriptedClient }

func (c *silentConn) WriteRequest(r *jsonrpc2.Request) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.Keep()
	c.requests = append(c.requests, r)
	return nil
}

// A Conn that refuses a request fails that call alone.
func TestWriteRequestFails(t *testing.T) {
	conn := newScriptedClient()
	stats := new(jsonrpc2.Stats)
	codec := jsonrpc2.NewClientCodec(conn, &jsonrpc2.ClientOptions{Stats: stats})
	client := rpc.NewClientWithCodec(codec)
	defer client.Close()
	conn.refuse(jsonrpc2.ErrOverloaded)
	_, err := jsonrpc2.Call[int](t.Context(), client, "Test.Call", nil)
	require.ErrorIs(t, err, jsonrpc2.ErrOverloaded)
	require.ErrorIs(t, client.Call("Test.Call", nil, nil), jsonrpc2.ErrOverloaded)
	require.ErrorIs(t, jsonrpc2.Notify(client, "Test.Call", nil), jsonrpc2.ErrOverloaded)
	require.EqualValues(t, 3, stats.Unsent.Load())
	calls, _ := jsonrpc2.Pending(codec)
	require.Zero(t, calls)

	conn.refuse(nil)
	call := client.Go("Test.Call", nil, nil, nil)
	<-conn.written
	require.NoError(t, client.Close())
	require.ErrorIs(t, (<-call.Done).Error, rpc.ErrShutdown)
}

func TestNotify(t *testing.T) {
	stats := new(jsonrpc2.Stats)
	p := newPeer(t, jsonrpc2.ClientOptions{Service: "Calc", Positional: true, Stats: stats})
	require.NoError(t, jsonrpc2.Notify(p.client, "Calc.Add", calc.Args{A: 1, B: 5.1}))
	require.Equal(t, `{"jsonrpc":"2.0","method":"add","params":[1,5.1]}`, (<-p.requests).text)
	require.NoError(t, jsonrpc2.Notify(p.client, "Calc.Add", nil))
	require.Equal(t, `{"jsonrpc":"2.0","method":"add"}`, (<-p.requests).text)
	p.requireAlive(t) // the notifications were sent before
	p.requireNothingLeft(t)
	require.EqualValues(t, 2, stats.Notifications.Load())
	require.EqualValues(t, 1, stats.Calls.Load())
}

func TestNotifyAndCallConcurrently(t *testing.T) {
	counter := &Counter{}
	there, here := tcpPair(t)
	done := make(chan error, 1)
	go func() {
		done <- jsonrpc2.Serve(t.Context(), newServer(t, counter), jsonrpc2.NewStreamConn(there), nil)
	}()
	codec := jsonrpc2.NewClientCodec(jsonrpc2.NewStreamConn(here), nil)
	p := &peer{client: rpc.NewClientWithCodec(codec), codec: codec}
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			for i := range 50 {
				assert.NoError(t, jsonrpc2.Notify(p.client, "Counter.Count", nil))
				sum, err := jsonrpc2.Call[float64](t.Context(), p.client, "Calc.Add", calc.Args{A: float64(g), B: float64(i)})
				assert.NoError(t, err)
				assert.Equal(t, float64(g+i), sum)
				var difference float64
				assert.NoError(t, p.client.Call("Calc.Subtract", calc.Args{A: float64(g), B: float64(i)}, &difference))
				assert.Equal(t, float64(g-i), difference)
			}
		})
	}
	wg.Wait()
	p.requireNothingLeft(t)
	require.NoError(t, p.client.Close())
	require.NoError(t, <-done)
	require.EqualValues(t, 32*50, counter.n.Load())
}

func TestCallDecodesInto(t *testing.T) {
	p := newPeer(t, jsonrpc2.ClientOptions{})
	requireResult(t, p, `{"A":1,"B":2}`, calc.Args{A: 1, B: 2})
	requireResult(t, p, `{"A":1,"B":2}`, &calc.Args{A: 1, B: 2})
	requireResult(t, p, `{"a":[1,"x"]}`, map[string]any{"a": []any{1.0, "x"}})
	requireResult(t, p, `[1,2]`, []int{1, 2})
	requireResult(t, p, `null`, (*int)(nil))
	requireResult(t, p, `"<&>\u00e9"`, "<&>é")
	requireResult(t, p, `9007199254740993`, int64(9007199254740993))
	requireResult(t, p, `{ "raw" : 1.0 }`, json.RawMessage(`{ "raw" : 1.0 }`))
}

func requireResult[R any](t *testing.T, p *peer, reply string, want R) {
	t.Helper()
	done := make(chan error, 1)
	var got R
	go func() {
		var err error
		got, err = jsonrpc2.Call[R](t.Context(), p.client, "Test.Call", nil)
		done <- err
	}()
	p.answer(t, <-p.requests, reply)
	require.NoError(t, <-done)
	require.Equal(t, want, got)
}

// A client of net/rpc/jsonrpc's kind of params is understood, and its server's
// kind of array by Positional.
func TestStreamClientAndServer(t *testing.T) {
	for _, positional := range []bool{false, true} {
		there, here := net.Pipe()
		ctx, drain := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- jsonrpc2.Serve(ctx, newServer(t), jsonrpc2.NewStreamConn(there), &jsonrpc2.ServerOptions{Service: "Calc"})
		}()
		client := jsonrpc2.NewClient(jsonrpc2.NewStreamConn(here), &jsonrpc2.ClientOptions{Service: "Calc", Positional: positional})
		sum, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", calc.Args{A: 1, B: 5.1})
		require.NoError(t, err)
		require.Equal(t, 6.1, sum)

		_, err = jsonrpc2.Call[int](t.Context(), client, "Odd.Fail", nil)
		var answered *jsonrpc2.Error
		require.True(t, errors.As(err, &answered))
		require.Equal(t, jsonrpc2.Error{Code: 404, Message: "no such account", Data: json.RawMessage(`{"account":7}`)}, *answered)

		err = client.Call("Odd.Fail", nil, nil)
		require.EqualError(t, err, `no such account (JSON-RPC error 404, data {"account":7})`)
		again, ok := jsonrpc2.AsError(err)
		require.True(t, ok)
		require.Equal(t, answered, again)

		require.EqualError(t, client.Call("Odd.FailWith", "divide by zero", nil), "divide by zero")
		drain()
		require.NoError(t, <-done)
		require.NoError(t, client.Close())
	}
}
