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
			conntest.Run(t, func(t *testing.T) conntest.Transport {
				return transport(brokertest.StartRedis(t).Client(t), opts)
			})
		})
	}
}

func transport(rdb redis.UniversalClient, opts redisconn.DialOptions) conntest.Transport {
	return conntest.Transport{
		Dial: func(testing.TB) jsonrpc2.Conn { return redisconn.Dial(rdb, queue, &opts) },
		Listen: func(testing.TB) jsonrpc2.Conn {
			return redisconn.Listen(rdb, queue, &redisconn.ListenOptions{Logger: quiet})
		},
		Broker: true,
	}
}
