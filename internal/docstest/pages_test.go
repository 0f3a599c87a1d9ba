package docstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	checkout = "../.." // the module's folder, seen from the tests
	module   = "github.com/micromessaging/jsonrpc2"
)

// readText returns the text of a file of the checkout.
func readText(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout, path))
	require.NoError(t, err)
	return string(text)
}

// A page is short, and what it links to in the checkout exists.
func TestPages(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join(checkout, "docs", "*.md"))
	require.NoError(t, err)
	require.NotEmpty(t, pages)
	code := regexp.MustCompile("(?ms)^```.*?^```$")
	link := regexp.MustCompile(`\]\(([^)#:]+)[^):]*\)`)
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text := readText(t, filepath.Join("docs", filepath.Base(page)))
			require.LessOrEqual(t, strings.Count(text, "\n"), 200, "lines")
			for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(text, ""), -1) {
				_, err := os.Stat(filepath.Join(filepath.Dir(page), m[1]))
				require.NoError(t, err, m[0])
			}
		})
	}
}

// runGo runs the go command in a module of its own, which has the versions of the checkout's
// go.mod and these files, and returns what it prints on its standard output.
func runGo(t *testing.T, files map[string]string, args ...string) string {
	t.Helper()
	folder := t.TempDir()
	path, err := filepath.Abs(checkout)
	require.NoError(t, err)
	mod := strings.Replace(readText(t, "go.mod"), "module "+module+"\n", "module example.com/page\n", 1)
	mod += "\nrequire " + module + " v0.0.0\nreplace " + module + " => " + path + "\n"
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o644))
	}
	write("go.mod", mod)
	write("go.sum", readText(t, "go.sum"))
	for name, text := range files {
		write(name, text)
	}
	run := exec.CommandContext(t.Context(), "go", args...)
	run.Dir = folder
	run.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off")
	var stderr strings.Builder
	run.Stderr = &stderr
	stdout, err := run.Output()
	require.NoError(t, err, "%s\n%s", stdout, &stderr)
	return string(stdout)
}
