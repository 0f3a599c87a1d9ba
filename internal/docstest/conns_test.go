package docstest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/markdown"
)

const connsPage = "docs/conns.md"

// The page's code is that of examples/natsconn.
func TestQuotesOfConns(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob(filepath.Join(checkout, "examples/natsconn/*.go"))
	require.NoError(t, err)
	var code strings.Builder
	for _, file := range files {
		code.WriteString(readText(t, "examples/natsconn/"+filepath.Base(file)))
	}
	blocks := markdown.Blocks(readText(t, connsPage), "go")
	require.NotEmpty(t, blocks)
	for _, block := range blocks {
		require.Contains(t, code.String(), "\n"+block)
	}
}

// The page's table has each method of the two interfaces.
func TestMethodsOfConns(t *testing.T) {
	t.Parallel()
	section, found := markdown.Section(readText(t, connsPage), "What each method promises")
	require.True(t, found)
	var rows strings.Builder
	for _, row := range markdown.Rows(section) {
		rows.WriteString(row[0] + "\n")
	}
	for _, method := range []string{"Open", "WriteRequest", "ReadReply", "Inquire", "ReadRequest", "Err", "Close"} {
		require.Contains(t, readText(t, "conn.go"), "\n\t"+method+"(")
		require.Contains(t, rows.String(), "`"+method+"`")
	}
}

// The page's command runs.
func TestCommandOfConns(t *testing.T) {
	t.Parallel()
	commands := markdown.Blocks(readText(t, connsPage), "sh")
	require.Len(t, commands, 1)
	run := exec.CommandContext(t.Context(), "bash", "-ec", commands[0])
	run.Dir = checkout
	printed, err := run.CombinedOutput()
	require.NoError(t, err, "%s", printed)
}
