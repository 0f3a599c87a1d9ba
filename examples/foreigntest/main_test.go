// Package foreigntest runs the examples in other languages against this module: each client
// against a Go server, and each server under a Go client.
package foreigntest

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(brokertest.Main(m))
}
