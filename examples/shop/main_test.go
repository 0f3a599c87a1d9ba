package main

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

// With it in its environment the test binary is the program.
const beShop = "SHOP_TEST_BE_SHOP"

func TestMain(m *testing.M) {
	if os.Getenv(beShop) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(brokertest.Main(m))
}
