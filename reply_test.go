package jsonrpc2_test

import (
	"encoding/json"
	"fmt"
	"net/rpc"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

// A call is answered by a valid response alone, also by one in an odd form.
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
		{name: "giant", reply: `{"jsonrpc":"2.0","id":ID,"result":"` + strings.Repeat("x", 2000) + `"}`, wantErr: "exceeds the limit of 1000", is: jsonrpc2.ErrReplyTooLarge},
		{name: "giant in many reads", reply: `{"jsonrpc":"2.0","id":ID,"result":"` + strings.Repeat("x", 200_000) + `"}`, wantErr: "exceeds the limit of 1000", is: jsonrpc2.ErrReplyTooLarge},
		{name: "deep", reply: `{"jsonrpc":"2.0","id":ID,"result":[[[[[[7]]]]]]}`, wantErr: "nesting exceeds the limit of 5", is: jsonrpc2.ErrReplyTooLarge},
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

// Each failure is counted by what it says of the call.
func TestFailuresAreCounted(t *testing.T) {
	for _, test := range []struct {
		err  error
		want jsonrpc2.ClientCounts
	}{
		{jsonrpc2.ErrUnavailable, jsonrpc2.ClientCounts{Unsent: 1}},
		{jsonrpc2.ErrNoServer, jsonrpc2.ClientCounts{Unsent: 1}},
		{jsonrpc2.ErrOverloaded, jsonrpc2.ClientCounts{Unsent: 1}},
		{jsonrpc2.ErrTooLarge, jsonrpc2.ClientCounts{Unsent: 1}},
		{jsonrpc2.ErrReplyLost, jsonrpc2.ClientCounts{RepliesLost: 1}},
		{jsonrpc2.ErrBadReply, jsonrpc2.ClientCounts{BadReplies: 1}},
		{jsonrpc2.ErrReplyTooLarge, jsonrpc2.ClientCounts{RepliesTooLarge: 1}},
	} {
		for _, missing := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				conn, stats := newScriptedClient(), new(jsonrpc2.ClientStats)
				client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet, Stats: stats})
				defer client.Close()
				call := client.Go("Test.Call", nil, nil, nil)
				<-conn.written
				if missing {
					conn.messages <- jsonrpc2.Reply{Body: []byte("[]"), Request: conn.last(), Missing: test.err}
				} else {
					conn.last().Fail(test.err)
				}
				require.EqualError(t, (<-call.Done).Error, test.err.Error())
				test.want.Calls = 1
				require.Equal(t, test.want, stats.Snapshot(), "%v", test.err)
			})
		}
	}
}

// AsError finds no server's error in an error of the client, whatever text of a stranger
// that contains.
func TestFailureIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := newScriptedClient()
		client := jsonrpc2.NewClient(conn, &jsonrpc2.ClientOptions{Logger: servicetest.Quiet})
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

// A call with a nil reply learns whether it worked, and decodes no result.
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
