package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// newCheckout makes a checkout whose library these benchmarks don't compile with,
// with a benchmarks program of its own.
func newCheckout(t *testing.T, program string) string {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":             "module github.com/micromessaging/jsonrpc2\n",
		"go.sum":             "",
		"jsonrpc2.go":        "package jsonrpc2\n",
		"benchmarks/go.mod":  "module github.com/micromessaging/jsonrpc2/benchmarks\n",
		"benchmarks/main.go": program,
	} {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

// ownProgram makes two calls in whatever time.
const ownProgram = `package main

import (
	"bufio"
	"fmt"
	"os"
)

func main() {
	fmt.Println("{\"version\": 1}")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fmt.Println("{\"calls\": 2, \"elapsed\": 3}")
	}
}
`

func TestOtherMeasuresWithItsOwn(t *testing.T) {
	program, err := builder{t.Context(), t.TempDir()}.buildOther(newCheckout(t, ownProgram))
	require.NoError(t, err)
	m, err := startMeasurer(t.Context(), program)
	require.NoError(t, err)
	defer m.end()
	r, err := m.measure(order{For: time.Second})
	require.NoError(t, err)
	require.Equal(t, report{Calls: 2, Elapsed: 3}, r)
}

func TestOtherCannotBeMeasured(t *testing.T) {
	tests := map[string]struct{ program, want string }{
		"an old program":      {"package main\n\nfunc main() {}\n", "does not measure on order as this program does"},
		"an unknown protocol": {strings.Replace(ownProgram, "1}", "2}", 1), "does not measure on order as this program does"},
		"no program":          {"package other\n\nvar x = y\n", "undefined: y"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			other := newCheckout(t, test.program)
			_, err := builder{t.Context(), t.TempDir()}.buildOther(other)
			require.ErrorContains(t, err, "these benchmarks don't compile with "+other+": go build: exit status 1")
			require.ErrorContains(t, err, "its own benchmarks can't take their place: ")
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestBuildThatIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := buildBoth(ctx, "..", t.TempDir())
	require.Equal(t, context.Canceled, err)
}
