package redisconn_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/conntest"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/internal/waytest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runConformance(t, opts, redisconn.ListenOptions{Logger: servicetest.Quiet})
		})
	}
	t.Run("at least once", func(t *testing.T) {
		t.Parallel()
		runConformance(t, redisconn.DialOptions{Logger: servicetest.Quiet}, redisconn.ListenOptions{Logger: servicetest.Quiet, Guarantee: jsonrpc2.AtLeastOnce})
	})
}

func runConformance(t *testing.T, dial redisconn.DialOptions, listen redisconn.ListenOptions) {
	conntest.Run(t, func(t *testing.T) conntest.Transport {
		return transport(brokertest.StartRedis(t).Client(t), dial, listen)
	})
}

func transport(rdb redis.UniversalClient, dial redisconn.DialOptions, listen redisconn.ListenOptions) conntest.Transport {
	return conntest.Transport{
		Dial:      func(t testing.TB) jsonrpc2.ClientConn { return mustDial(t, rdb, queue, &dial) },
		Listen:    func(t testing.TB) jsonrpc2.ServerConn { return mustListen(t, rdb, queue, &listen) },
		Waits:     true,
		GivesBack: true,
		Deadlines: true,
		Withdraws: true,
	}
}

// The way of a request that the package's doc shows is the one in its files.
func TestWayOfARequest(t *testing.T) { waytest.Require(t) }
