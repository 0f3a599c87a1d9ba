package faulttest

import (
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/redis/go-redis/v9/logging"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

var tableFile = flag.String("table", "", "the Markdown `file` to note the figures in")

func TestMain(m *testing.M) {
	logging.Disable() // go-redis would tell of the connections that the tests break
	if config := os.Getenv(processVariable); config != "" {
		runProcess(config)
		return
	}
	flag.Parse()
	_ = flag.Set("test.parallel", "4") // they wait most of the time
	goleak.VerifyTestMain(notingMain{brokertest.Main(m)})
}

// A notingMain writes the table when all tests have run.
type notingMain struct{ tests interface{ Run() int } }

func (m notingMain) Run() int {
	code := m.tests.Run()
	if *tableFile == "" {
		return code
	}
	if err := figures.write(*tableFile); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

const (
	soon = time.Minute // for what should not take long
	tick = 5 * time.Millisecond
)

// eventually waits until a condition holds.
func eventually(t *testing.T, condition func() bool, msgAndArgs ...any) {
	t.Helper()
	require.Eventually(t, condition, soon, tick, msgAndArgs...)
}

// slow skips a test unless all faults are asked for.
func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("FAULTS") != "all" {
		t.Skipf("slow: FAULTS=all go test -run '^%s$' ./internal/faulttest", t.Name())
	}
}
