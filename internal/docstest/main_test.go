// Package docstest holds the pages in docs to what they say.
package docstest

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
