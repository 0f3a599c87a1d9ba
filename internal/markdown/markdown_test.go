package markdown_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/markdown"
)

const page = "# Page\n\n## First\n\n```go\nfunc a() {\n}\n```\n\n| a | b |\n|---|---:|\n| 1 | `2` |\n| 3 | |\n\n## Second\n\n```sh\nls\n```\n```go\nfunc b() {}\n```\n"

func TestBlocks(t *testing.T) {
	require.Equal(t, []string{"func a() {\n}\n", "func b() {}\n"}, markdown.Blocks(page, "go"))
	require.Equal(t, []string{"ls\n"}, markdown.Blocks(page, "sh"))
	require.Empty(t, markdown.Blocks(page, "ruby"))
}

func TestSection(t *testing.T) {
	first, found := markdown.Section(page, "First")
	require.True(t, found)
	require.Contains(t, first, "func a")
	require.NotContains(t, first, "ls")
	_, found = markdown.Section(page, "Fir")
	require.False(t, found)
}

func TestRows(t *testing.T) {
	require.Equal(t, [][]string{{"a", "b"}, {"1", "`2`"}, {"3", ""}}, markdown.Rows(page))
}
