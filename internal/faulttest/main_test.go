package faulttest

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

var tableFile = flag.String("table", "", "the Markdown `file` to note the figures in")

func TestMain(m *testing.M) {
	logging.Disable() // go-redis would log each connection that the tests break
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

// slow skips a test unless the environment has FAULTS=all.
func slow(t *testing.T) {
	t.Helper()
	if os.Getenv("FAULTS") != "all" {
		t.Skipf("slow: FAULTS=all go test -run '^%s$' ./internal/faulttest", t.Name())
	}
}
