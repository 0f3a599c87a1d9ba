package rubytest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A response is a response that a script printed. The scripts use strings as ids.
type response struct {
	JSONRPC, ID string
	Result      *float64
	Error       *struct{ Code int64 }
}

// parse returns the response in text, which has an id.
func parse(t testing.TB, text string) (r response) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &r), text)
	require.Equal(t, "2.0", r.JSONRPC)
	require.NotEmpty(t, r.ID)
	return r
}

// RequireResult requires that text is a response with the result want.
func RequireResult(t testing.TB, want float64, text string) {
	t.Helper()
	r := parse(t, text)
	require.Nil(t, r.Error, text)
	require.NotNil(t, r.Result, text)
	require.Equal(t, want, *r.Result)
}

// RequireResults requires that lines are n responses, one a line, each with the result want.
func RequireResults(t testing.TB, n int, want float64, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		RequireResult(t, want, line)
	}
	require.Equal(t, n, strings.Count(lines, "\n"))
}

// RequireError requires that text is a response with the error code want.
func RequireError(t testing.TB, want int64, text string) {
	t.Helper()
	r := parse(t, text)
	require.Nil(t, r.Result, text)
	require.NotNil(t, r.Error, text)
	require.Equal(t, want, r.Error.Code)
}
