package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
)

const (
	// With it in its environment the test binary is the program.
	beProgram = "JSONRPC2_TEST_BE_PROGRAM"

	// With it in its environment the test binary is a server of the broker of that URL,
	// until the end of its standard input. See serveDying.
	beServer = "JSONRPC2_TEST_BE_SERVER"

	// noSleep makes the race detector not wait for a second at the end of a process.
	noSleep = "GORACE=atexit_sleep_ms=0"

	queue = "calc"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis would tell of the connections that the tests break
	switch {
	case os.Getenv(beProgram) != "":
		main()
	case os.Getenv(beServer) != "":
		serveDying(os.Getenv(beServer), os.Getenv("QUEUE"))
	default:
		goleak.VerifyTestMain(brokertest.Main(m))
	}
}

// A result is what came of a command line.
type result struct {
	stdout, stderr string
	status         int
}

// environment returns what stands for os.Getenv.
func environment(env ...string) func(string) string {
	return func(name string) string {
		for _, variable := range env {
			if value, ok := strings.CutPrefix(variable, name+"="); ok {
				return value
			}
		}
		return ""
	}
}

// run runs a command line in this process.
func run(t *testing.T, args ...string) result {
	t.Helper()
	return runWith(t, t.Context(), "", nil, args...)
}

// runWith runs a command line, again if it could not connect to RabbitMQ in the 1.5 s that a call
// waits: on a machine that stalls.
func runWith(t *testing.T, ctx context.Context, stdin string, env []string, args ...string) result {
	t.Helper()
	for begin := time.Now(); ; {
		var stdout, stderr bytes.Buffer
		status := newApp(strings.NewReader(stdin), &stdout, &stderr, environment(env...)).run(ctx, args)
		assert.NotContains(t, stdout.String()+stderr.String(), "s3cret")
		if status != exitNotRun || !strings.Contains(stderr.String(), "still connecting") || time.Since(begin) > servicetest.Soon {
			return result{stdout.String(), stderr.String(), status}
		}
	}
}

// must runs a command line that must succeed, and returns its results.
func must(t *testing.T, args ...string) string {
	t.Helper()
	r := run(t, args...)
	require.Zero(t, r.status, r.stderr)
	require.Empty(t, r.stderr)
	return r.stdout
}

// parsed returns the lines of JSON in a text.
func parsed[T any](t *testing.T, text string) (values []T) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	for decoder.More() {
		var value T
		require.NoError(t, decoder.Decode(&value), text)
		values = append(values, value)
	}
	return values
}

// program returns a command that runs the program in a process of its own.
func program(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), beProgram+"=1", noSleep)
	return cmd
}

// A buffer is one that may be read while it is written to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// requireSoon waits until a text is in the buffer.
func (b *buffer) requireSoon(t *testing.T, text string) {
	t.Helper()
	servicetest.Eventually(t, func() bool { return strings.Contains(b.String(), text) }, "want %q", text)
}

// awaited returns what a channel receives soon.
func awaited[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case value := <-c:
		return value
	case <-time.After(servicetest.Soon):
		require.FailNow(t, "nothing is received")
		panic("not reached")
	}
}
