package jsonrpc2_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
)

func TestDeadRequestMethod(t *testing.T) {
	t.Parallel()
	for request, want := range map[string]string{
		`{"jsonrpc":"2.0","id":1,"method":"Calc.Add","params":[1,2]}`: "Calc.Add",
		`{"method":"Calc.\u0041dd"}`:                                  "Calc.Add",
		` [{"id":1},2,{"method":"first"},{"method":"second"}]`:        "first",
		`{"method":"Calc.Add","params":[`:                             "Calc.Add", // cut off
		`[{"method":"first"},{"method":`:                              "first",
		`{"method":7}`:                                                "",
		`{"id":1}`:                                                    "",
		`[]`:                                                          "",
		`"method"`:                                                    "",
		"":                                                            "",
		strings.Repeat("[", 1<<20):                                    "",
	} {
		require.Equal(t, want, jsonrpc2.DeadRequest{Request: []byte(request)}.Method(), "%.80s", request)
	}
}

func TestDeadRequestID(t *testing.T) {
	t.Parallel()
	id := jsonrpc2.DeadRequest{Handle: "a"}.ID()
	require.Equal(t, "ca978112ca1bbdca", id, "the same in each version")
	require.Equal(t, id, jsonrpc2.DeadRequest{Handle: "a", Reason: "r", Request: []byte("{}")}.ID())
	require.NotEqual(t, id, jsonrpc2.DeadRequest{Handle: "b"}.ID())
}
