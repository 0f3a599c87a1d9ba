package rubytest_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/rubytest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(brokertest.Main(m))
}

const closedPort = "redis://127.0.0.1:1/0"

func TestRunErrReturnsTheFailure(t *testing.T) {
	t.Parallel()
	stdout, stderr, code := rubytest.RunErr(t, "redis_client.rb", closedPort, "calc", "id", "add", "[1,5.1]")
	require.Empty(t, stdout)
	require.Contains(t, stderr, "CannotConnectError")
	require.Equal(t, 1, code)
}

func TestFailures(t *testing.T) {
	run := func(t testing.TB) { rubytest.Run(t, "redis_client.rb", closedPort, "calc", "id", "add", "[1,5.1]") }
	start := func(t testing.TB) { rubytest.Start(t, "redis_server.rb", closedPort, "calc", "id") }
	t.Run("exit code", func(t *testing.T) {
		require.Regexp(t, `^rubytest: redis_client.rb: exit code 1\n(?s:.*)CannotConnectError`, failure(t, run))
		require.Equal(t, "rubytest: redis_server.rb: ended before it was ready", failure(t, start))
	})
	t.Run("no library", func(t *testing.T) {
		t.Setenv("RUBYOPT", "--disable=gems")
		require.Contains(t, failure(t, run), "apt-get install ruby ")
		require.Contains(t, failure(t, start), "apt-get install ruby ")
	})
	t.Run("no ruby", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		require.Contains(t, failure(t, run), "apt-get install ruby ")
		require.Contains(t, failure(t, start), "apt-get install ruby ")
	})
}

// failure returns the message of the Fatalf that f calls.
func failure(t testing.TB, f func(testing.TB)) string {
	fatal := &fatalTB{TB: t}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(fatal)
	}()
	<-done
	return fatal.message
}

// A fatalTB keeps the message of Fatalf, and does not fail the test.
type fatalTB struct {
	testing.TB
	message string
}

func (t *fatalTB) Fatalf(format string, args ...any) {
	t.message = fmt.Sprintf(format, args...)
	runtime.Goexit()
}
