package docstest

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/markdown"
)

// The page's files are a package whose tests pass.
func TestFilesOfTesting(t *testing.T) {
	t.Parallel()
	blocks := markdown.Blocks(readText(t, "docs/testing.md"), "go")
	require.Len(t, blocks, 4)
	files, tests := make(map[string]string), 0
	for i, block := range blocks {
		name := fmt.Sprintf("page%d.go", i)
		if n := strings.Count(block, "\nfunc Test"); n > 0 {
			name = fmt.Sprintf("page%d_test.go", i)
			tests += n
		}
		files[name] = block
	}
	printed := runGo(t, files, "test", "-count=2", "-v", ".")
	require.Len(t, regexp.MustCompile(`(?m)^--- PASS: Test`).FindAllString(printed, -1), 2*tests, printed)
}
