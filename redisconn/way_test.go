package redisconn_test

import (
	"testing"

	"github.com/micromessaging/jsonrpc2/internal/waytest"
)

// The way of a request that the package's doc shows is the one in its files.
func TestWayOfARequest(t *testing.T) { waytest.Require(t) }
