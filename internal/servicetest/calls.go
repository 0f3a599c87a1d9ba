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

// Add calls Calc.Add.
func Add(client *rpc.Client, a, b float64) (float64, error) {
	return jsonrpc2.Call[float64](context.Background(), client, "Calc.Add", calc.Args{A: a, B: b})
}

// RequireAdds requires that a call of Calc.Add is answered.
func RequireAdds(t *testing.T, client *rpc.Client) {
	t.Helper()
	sum, err := Add(client, 1, 5.1)
	require.NoError(t, err)
	require.Equal(t, 6.1, sum)
}

// AddMany makes calls one after another. Each call of each caller has a result of its own, so
// an answer to another call is an error.
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

// RequireManyAdds requires that all calls of callers that run at once are answered.
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

// RequireCalls requires that a call is answered, that one of an unknown method and one with
// wrong params get their errors, and that 64 callers at once get each answers.
func RequireCalls(t *testing.T, client *rpc.Client, each int) {
	t.Helper()
	RequireAdds(t, client)
	_, err := jsonrpc2.Call[float64](context.Background(), client, "Calc.Multiply", calc.Args{})
	RequireCode(t, jsonrpc2.CodeMethodNotFound, err)
	_, err = jsonrpc2.Call[float64](context.Background(), client, "Calc.Add", []string{"a", "b"})
	RequireCode(t, jsonrpc2.CodeInvalidParams, err)
	RequireManyAdds(t, client, 64, each)
}

// RequireCode requires that err is a *jsonrpc2.Error with a code.
func RequireCode(t *testing.T, code int64, err error) {
	t.Helper()
	e, ok := jsonrpc2.AsError(err)
	require.True(t, ok, "got %v", err)
	require.Equal(t, code, e.Code)
}
