package servicetest

import (
	"context"
	"errors"
	"fmt"
	"net/rpc"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/calc"
)

// Add has a server's Calc add two numbers.
func Add(client *rpc.Client, a, b float64) (float64, error) {
	return jsonrpc2.Call[float64](context.Background(), client, "Calc.Add", calc.Args{A: a, B: b})
}

// RequireAdds requires that a call is answered.
func RequireAdds(t *testing.T, client *rpc.Client) {
	t.Helper()
	sum, err := Add(client, 1, 5.1)
	require.NoError(t, err)
	require.Equal(t, 6.1, sum)
}

// AddMany makes calls one after another. Their results tell them apart, and the callers.
func AddMany(client *rpc.Client, caller, calls int) error {
	for i := range calls {
		sum, err := Add(client, float64(caller), float64(i)/1024)
		if want := float64(caller) + float64(i)/1024; err == nil && sum != want {
			err = fmt.Errorf("got %v, want %v", sum, want)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// RequireManyAdds requires that the calls of many callers at once are answered.
func RequireManyAdds(t *testing.T, client *rpc.Client, callers, calls int) {
	t.Helper()
	errs := make(chan error, callers)
	for i := range callers {
		go func() { errs <- AddMany(client, i, calls) }()
	}
	var failed []error
	for range callers {
		failed = append(failed, <-errs)
	}
	require.NoError(t, errors.Join(failed...))
}

// RequireCalls requires that calls work: one, an unknown one, a wrong one, and those of
// 64 callers at once.
func RequireCalls(t *testing.T, client *rpc.Client, each int) {
	t.Helper()
	RequireAdds(t, client)
	_, err := jsonrpc2.Call[float64](context.Background(), client, "Calc.Multiply", calc.Args{})
	RequireCode(t, jsonrpc2.CodeMethodNotFound, err)
	_, err = jsonrpc2.Call[float64](context.Background(), client, "Calc.Add", []string{"a", "b"})
	RequireCode(t, jsonrpc2.CodeInvalidParams, err)
	RequireManyAdds(t, client, 64, each)
}

// RequireCode requires that an error is an answer with a code.
func RequireCode(t *testing.T, code int64, err error) {
	t.Helper()
	e, ok := jsonrpc2.AsError(err)
	require.True(t, ok, "got %v", err)
	require.Equal(t, code, e.Code)
}
