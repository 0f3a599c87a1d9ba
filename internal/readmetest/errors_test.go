package readmetest

import (
	"errors"
	"maps"
	"net/rpc"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/markdown"
)

// A failure is a case of an error over a transport.
type failure struct {
	transport string
	name      string // in the table
	ran       int    // how often the method runs at least, where it may
	make      func(t *testing.T, s *Counted) outcome
}

// An outcome is what came of the call "it".
type outcome struct {
	err   error
	alive *rpc.Client // of a server that takes from the same place; nil if there is none
}

var sentinels = map[string]error{
	"ErrUnavailable":   jsonrpc2.ErrUnavailable,
	"ErrOverloaded":    jsonrpc2.ErrOverloaded,
	"ErrNoServer":      jsonrpc2.ErrNoServer,
	"ErrTooLarge":      jsonrpc2.ErrTooLarge,
	"ErrNotRun":        jsonrpc2.ErrNotRun,
	"ErrTimeout":       jsonrpc2.ErrTimeout,
	"ErrReplyLost":     jsonrpc2.ErrReplyLost,
	"ErrUnconfirmed":   jsonrpc2.ErrUnconfirmed,
	"ErrBadReply":      jsonrpc2.ErrBadReply,
	"ErrReplyTooLarge": jsonrpc2.ErrReplyTooLarge,
}

// errorTable returns what the table of docs/delivery.md says of each error: whether its
// request may have run.
func errorTable(t *testing.T) map[string]bool {
	t.Helper()
	page, err := os.ReadFile(filepath.Join(root, "docs", "delivery.md"))
	require.NoError(t, err)
	section, ok := markdown.Section(string(page), "Errors")
	require.True(t, ok)
	table := make(map[string]bool)
	for _, row := range markdown.Rows(section)[1:] {
		never, perhaps := strings.Contains(row[1], "did not run"), strings.Contains(row[1], "may have run")
		for _, m := range regexp.MustCompile("`(Err[A-Za-z]+)`").FindAllStringSubmatch(row[0], -1) {
			if m[1] == "ErrTimeout" && strings.Contains(row[0], "beside `ErrTimeout`") {
				continue
			}
			require.True(t, never != perhaps, "says of %s whether it ran: %q", m[0], row)
			table[m[1]] = perhaps
		}
	}
	return table
}

// The table of errors is true, in each row and over each transport.
func TestErrors(t *testing.T) {
	t.Parallel()
	table := errorTable(t)
	require.ElementsMatch(t, slices.Collect(maps.Keys(sentinels)), slices.Collect(maps.Keys(table)))
	shown := make(map[string]bool)
	for _, f := range slices.Concat(streamFailures, redisFailures, rabbitFailures, httpFailures) {
		shown[f.name] = true
		t.Run(f.transport+"/"+f.name, func(t *testing.T) {
			t.Parallel()
			s := newCounted(t)
			got := f.make(t, s)
			require.ErrorIs(t, got.err, sentinels[f.name])
			for name, sentinel := range sentinels { // no other is true of it
				beside := f.name == "ErrNotRun" && name == "ErrTimeout"
				if sentinel != sentinels[f.name] && !beside {
					require.NotErrorIs(t, got.err, sentinel)
				}
			}
			var answer *jsonrpc2.Error
			require.False(t, errors.As(got.err, &answer), "no server's error")
			if got.alive != nil {
				require.NoError(t, call(got.alive, "Quick", Args{Name: "after"}))
			}
			if table[f.name] {
				require.GreaterOrEqual(t, s.runs("it"), f.ran)
			} else {
				require.Zero(t, s.runs("it"), "%v", got.err)
			}
		})
	}
	require.Len(t, shown, len(table), "each row has a case")
}
