package jsonrpc2_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

func TestErrorText(t *testing.T) {
	for _, test := range []struct {
		err  jsonrpc2.Error
		want string
	}{
		{jsonrpc2.Error{Code: jsonrpc2.CodeServer, Message: "divide by zero"}, "divide by zero"},
		{jsonrpc2.Error{Code: 404, Message: "no such account"}, "no such account (JSON-RPC error 404)"},
		{jsonrpc2.Error{Code: -32601, Message: "gone"}, "gone (JSON-RPC error -32601)"},
		{jsonrpc2.Error{Message: "zero"}, "zero (JSON-RPC error 0)"},
		{jsonrpc2.Error{Code: 404, Message: "no such account", Data: []byte(`{"account": 7}`)}, `no such account (JSON-RPC error 404, data {"account":7})`},
		{jsonrpc2.Error{Code: jsonrpc2.CodeServer, Message: "m", Data: []byte(`1`)}, "m (JSON-RPC error -32000, data 1)"},
		{jsonrpc2.Error{Code: 5, Message: "m", Data: []byte(`no JSON`)}, `m (JSON-RPC error 5, data "no JSON")`},
		{jsonrpc2.Error{Code: 5}, "(JSON-RPC error 5)"},
		{jsonrpc2.Error{Code: jsonrpc2.CodeServer}, "(JSON-RPC error -32000)"},
		{jsonrpc2.Error{Code: jsonrpc2.CodeServer, Message: "a (JSON-RPC error 5)"}, "a (JSON-RPC error 5) (JSON-RPC error -32000)"},
		{jsonrpc2.Error{Code: jsonrpc2.CodeServer, Message: "jsonrpc2: call timed out"}, "jsonrpc2: call timed out (JSON-RPC error -32000)"},
	} {
		require.Equal(t, test.want, test.err.Error())
	}
}

// What net/rpc flattens to a text comes back whole, on either side.
func TestErrorRoundTrip(t *testing.T) {
	messages := []string{
		"", " ", "m", "two\nlines", "trailing ", " leading", "é 😀", `"quoted" <&>`, ")", "(", "()",
		"(JSON-RPC error 5)", "m (JSON-RPC error 5)", "m (JSON-RPC error 5) ", "(JSON-RPC error 5", "m (JSON-RPC error 5, data 1)",
		"m (JSON-RPC error ", "m (JSON-RPC error x)", "m (JSON-RPC error 5, data x)", "m (JSON-RPC error 5, data ",
		"jsonrpc2: call timed out", "jsonrpc2: bad reply: x", "rpc: can't find method",
	}
	data := []string{
		``, `null`, `0`, `"x"`, `[]`, `{"a":[1.0,"<&>"]}`, `")"`, `"(JSON-RPC error 5)"`, `"m (JSON-RPC error 5, data 1)"`,
		`["(JSON-RPC error 5, data ",1]`, `{"(JSON-RPC error 5, data ":"(JSON-RPC error 6"}`, `"\"(JSON-RPC error 5, data \""`,
	}
	for _, code := range []int64{jsonrpc2.CodeServer, jsonrpc2.CodeInternal, 0, 1, -1, 1<<63 - 1, -1 << 63} {
		for _, message := range messages {
			for _, d := range data {
				want := &jsonrpc2.Error{Code: code, Message: message}
				if d != "" {
					want.Data = json.RawMessage(d)
				}
				text := want.Error()
				require.NotEmpty(t, text)
				require.Equal(t, want, jsonrpc2.FromText(text), "the server's way: %s", text)
				got, ok := jsonrpc2.AsError(rpc.ServerError(text))
				require.True(t, ok)
				require.Equal(t, want, got, "the client's way: %s", text)
			}
		}
	}
}

// A nil *Error in an error is an error, and no reason to panic: net/rpc would end
// the process.
func TestNilError(t *testing.T) {
	var none *jsonrpc2.Error
	require.EqualError(t, none, "nil *jsonrpc2.Error (JSON-RPC error -32603)")
	for _, err := range []error{none, fmt.Errorf("transfer: %w", none), errors.Join(none)} {
		_, ok := jsonrpc2.AsError(err)
		require.False(t, ok)
	}
}

func TestAsError(t *testing.T) {
	gone := &jsonrpc2.Error{Code: 404, Message: "gone", Data: json.RawMessage(`7`)}
	plain := &jsonrpc2.Error{Code: jsonrpc2.CodeServer, Message: "divide by zero"}
	for name, test := range map[string]struct {
		err  error
		want *jsonrpc2.Error
	}{
		"nil":                  {nil, nil},
		"itself":               {gone, gone},
		"wrapped":              {fmt.Errorf("transfer: %w", gone), gone},
		"joined":               {errors.Join(io.EOF, gone), gone},
		"flattened":            {rpc.ServerError(gone.Error()), gone},
		"flattened, wrapped":   {fmt.Errorf("transfer: %w", rpc.ServerError(gone.Error())), gone},
		"wrapped, flattened":   {rpc.ServerError(fmt.Errorf("transfer: %w", gone).Error()), &jsonrpc2.Error{Code: 404, Message: "transfer: gone", Data: gone.Data}},
		"plain":                {rpc.ServerError("divide by zero"), plain},
		"text in front":        {rpc.ServerError("transfer: " + (&jsonrpc2.Error{Code: 5}).Error()), &jsonrpc2.Error{Code: 5, Message: "transfer:"}},
		"text behind":          {rpc.ServerError(gone.Error() + "!"), &jsonrpc2.Error{Code: jsonrpc2.CodeServer, Message: gone.Error() + "!"}},
		"timeout":              {fmt.Errorf("%w after 1s", jsonrpc2.ErrTimeout), nil},
		"timeout, flattened":   {rpc.ServerError(jsonrpc2.ErrTimeout.Error() + " after 1s"), nil},
		"bad reply, flattened": {rpc.ServerError(jsonrpc2.ErrBadReply.Error() + ": x"), nil},
		"shut down":            {rpc.ErrShutdown, nil},
		"connection":           {io.ErrUnexpectedEOF, nil},
		"another's":            {errors.New("divide by zero"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := jsonrpc2.AsError(test.err)
			require.Equal(t, test.want != nil, ok)
			require.Equal(t, test.want, got)
		})
	}
}

// The data of an Error is always JSON when it travels.
func TestErrorDataOnTheWire(t *testing.T) {
	for data, want := range map[string]string{
		"":                  ``,
		" { \"a\" : 1 } ":   `,"data":{"a":1}`,
		"no JSON":           `,"data":"no JSON"`,
		"\"\xff\"":          `,"data":"\"\ufffd\""`,
		"{\"a\":\"b\nc\"}":  `,"data":"{\"a\":\"b\nc\"}"`,
		`1}}{"evil":{"a":1`: `,"data":"1}}{\"evil\":{\"a\":1"`,
	} {
		err := &jsonrpc2.Error{Code: 5, Message: "m", Data: json.RawMessage(data)}
		sent := jsonrpc2.FromText(err.Error())
		got := strings.ReplaceAll(jsonrpc2.ErrorResponse("1", sent), "\ufffd", `\ufffd`) // encoding/json writes either
		require.Equal(t, `{"jsonrpc":"2.0","id":1,"error":{"code":5,"message":"m"`+want+`}}`, got)
	}
}
