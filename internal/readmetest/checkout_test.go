package readmetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/markdown"
)

// root is the module's folder, seen from the tests.
const root = "../.."

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	return string(text)
}

// block returns the only code block of a language that holds a text.
func block(t *testing.T, language, holds string) string {
	t.Helper()
	var found []string
	for _, text := range markdown.Blocks(readme(t), language) {
		if strings.Contains(text, holds) {
			found = append(found, text)
		}
	}
	require.Len(t, found, 1, "code blocks with %q", holds)
	return found[0]
}

// ways is a program that has each line of the README's table of transports.
const ways = `package main

import (
	"context"
	"io"
	"net"
	"net/rpc"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/amqpconn"
	"github.com/micromessaging/jsonrpc2/httpconn"
	"github.com/micromessaging/jsonrpc2/redisconn"
	"github.com/redis/go-redis/v9"
)

var _ = func(ctx context.Context, rdb *redis.Client, url string, dial func(context.Context) (io.ReadWriteCloser, error), server *rpc.Server, listener net.Listener) {
	use := func(...any) {}
LINES}
`

// waysProgram returns ways with the table's lines.
func waysProgram(t *testing.T) string {
	t.Helper()
	_, table, ok := strings.Cut(readme(t), "| | server | client |\n")
	require.True(t, ok)
	table, _, _ = strings.Cut(table, "\n\n")
	var lines strings.Builder
	found := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(table, -1)
	require.Len(t, found, 8, "a server and a client of four transports")
	for _, m := range found {
		lines.WriteString("\tuse(" + m[1] + ")\n")
	}
	return strings.ReplaceAll(ways, "LINES", lines.String())
}

// The README's program runs in a module of its own, by the commands that stand below it,
// and the lines of its table of transports compile there.
func TestCheckout(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	program := block(t, "go", "package main")
	require.Contains(t, program, `"localhost:6379"`)
	program = strings.ReplaceAll(program, "localhost:6379", broker.Addr)

	folder := t.TempDir()
	checkout, err := filepath.Abs(root)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(checkout, filepath.Join(folder, "jsonrpc2")))
	yours := filepath.Join(folder, "yours")
	require.NoError(t, os.Mkdir(yours, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(yours, "main.go"), []byte(program), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(yours, "ways.go"), []byte(waysProgram(t)), 0o644))

	run := exec.CommandContext(t.Context(), "bash", "-e")
	run.Dir = yours
	run.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	run.Stdin = strings.NewReader(block(t, "sh", "go mod edit"))
	var stderr strings.Builder
	run.Stderr = &stderr
	stdout, err := run.Output()
	require.NoError(t, err, "%s", &stderr)
	require.Equal(t, "6.1 <nil>\n", string(stdout), "%s", &stderr)
}
