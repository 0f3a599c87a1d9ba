package redisconn_test

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/conntest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			runConformance(t, opts, redisconn.ListenOptions{Logger: quiet})
		})
	}
	t.Run("at least once", func(t *testing.T) {
		t.Parallel()
		runConformance(t, redisconn.DialOptions{Logger: quiet}, redisconn.ListenOptions{Logger: quiet, AtLeastOnce: true})
	})
}

func runConformance(t *testing.T, dial redisconn.DialOptions, listen redisconn.ListenOptions) {
	conntest.Run(t, func(t *testing.T) conntest.Transport {
		return transport(brokertest.StartRedis(t).Client(t), dial, listen)
	})
}

func transport(rdb redis.UniversalClient, dial redisconn.DialOptions, listen redisconn.ListenOptions) conntest.Transport {
	return conntest.Transport{
		Dial:     func(testing.TB) jsonrpc2.Conn { return redisconn.Dial(rdb, queue, &dial) },
		Listen:   func(testing.TB) jsonrpc2.Conn { return redisconn.Listen(rdb, queue, &listen) },
		Broker:   true,
		Deadline: true,
	}
}
