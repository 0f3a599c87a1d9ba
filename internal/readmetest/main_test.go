// Package readmetest holds README.md, and the table of errors in docs/delivery.md, to what
// they say.
package readmetest

import (
	"testing"

	"github.com/redis/go-redis/v9/logging"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

func TestMain(m *testing.M) {
	logging.Disable() // go-redis would tell of the connections that the tests break
	goleak.VerifyTestMain(brokertest.Main(m))
}
