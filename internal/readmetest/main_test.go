package readmetest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(brokertest.Main(m))
}
