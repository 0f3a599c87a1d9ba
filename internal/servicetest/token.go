package servicetest

import (
	"context"
	"net/rpc"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// Token is the metadata of the calls that Authenticate accepts.
var Token = jsonrpc2.Meta{"token": "s3cret"}

// Authenticate is a jsonrpc2.BeginFunc that refuses calls without the Token.
func Authenticate(_ context.Context, call *jsonrpc2.CallInfo, _ any) (context.Context, func(error), error) {
	if call.Meta["token"] != Token["token"] {
		return nil, nil, &jsonrpc2.Error{Code: 401, Message: "who are you?"}
	}
	return nil, nil, nil
}

// RequireAuthentication requires that Calc.Add answers a call with the Token, and refuses calls
// without it.
func RequireAuthentication(t *testing.T, client *rpc.Client) {
	t.Helper()
	args := calc.Args{A: 1, B: 5.1}
	_, err := jsonrpc2.Call[float64](t.Context(), client, "Calc.Add", args)
	RequireCode(t, 401, err)
	e, ok := jsonrpc2.AsError(client.Call("Calc.Add", args, new(float64)))
	require.True(t, ok)
	require.Equal(t, &jsonrpc2.Error{Code: 401, Message: "who are you?"}, e)
	sum, err := jsonrpc2.Call[float64](jsonrpc2.WithMeta(t.Context(), Token), client, "Calc.Add", args)
	require.NoError(t, err)
	require.Equal(t, 6.1, sum)
}
