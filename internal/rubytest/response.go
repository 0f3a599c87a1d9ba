package rubytest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A response is one that a script got. The scripts' ids are strings.
type response struct {
	JSONRPC, ID string
	Result      *float64
	Error       *struct{ Code int64 }
}

func parse(t testing.TB, text string) (r response) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(text), &r), text)
	require.Equal(t, "2.0", r.JSONRPC)
	require.NotEmpty(t, r.ID)
	return r
}

// RequireResult requires that a script got a result.
func RequireResult(t testing.TB, want float64, text string) {
	t.Helper()
	r := parse(t, text)
	require.Nil(t, r.Error, text)
	require.NotNil(t, r.Result, text)
	require.Equal(t, want, *r.Result)
}

// RequireResults requires that a script got n results, a line each.
func RequireResults(t testing.TB, n int, want float64, lines string) {
	t.Helper()
	for line := range strings.Lines(lines) {
		RequireResult(t, want, line)
	}
	require.Equal(t, n, strings.Count(lines, "\n"))
}

// RequireError requires that a script got an error.
func RequireError(t testing.TB, want int64, text string) {
	t.Helper()
	r := parse(t, text)
	require.Nil(t, r.Result, text)
	require.NotNil(t, r.Error, text)
	require.Equal(t, want, r.Error.Code)
}
