package readmetest

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
)

func TestMain(m *testing.M) {
	redis.SetLogger(silence{}) // of the connections that the tests break
	goleak.VerifyTestMain(brokertest.Main(m))
}

type silence struct{}

func (silence) Printf(context.Context, string, ...any) {}
