package readmetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

const queue = "readme"

var redisFailures = []failure{
	{"redis", "ErrUnavailable", 0, func(t *testing.T, s *Counted) outcome {
		broker := brokertest.StartRedis(t)
		client := dial(t, servicetest.Must(redisconn.Dial(broker.Client(t), queue, &redisconn.DialOptions{Logger: servicetest.Quiet})), jsonrpc2.ClientOptions{})
		broker.Kill()
		err := call(client, "Quick", Args{Name: "it"})
		broker.Start()
		s.onRedis(t, broker)
		return outcome{err, client}
	}},
	{"redis", "ErrOverloaded", 0, func(t *testing.T, s *Counted) outcome {
		broker := brokertest.StartRedis(t)
		rdb := broker.Client(t)
		client := dial(t, servicetest.Must(redisconn.Dial(rdb, queue, nil)), jsonrpc2.ClientOptions{})
		waits := client.Go("Counted.Quick", Args{Name: "first"}, new(string), nil)
		servicetest.Eventually(t, func() bool { return rdb.LLen(t.Context(), queue).Val() == 1 })
		limited := dial(t, servicetest.Must(redisconn.Dial(rdb, queue, &redisconn.DialOptions{MaxBacklog: 1})), jsonrpc2.ClientOptions{})
		err := call(limited, "Quick", Args{Name: "it"})
		s.onRedis(t, broker)
		require.NoError(t, (<-waits.Done).Error)
		return outcome{err, client}
	}},
	{"redis", "ErrTooLarge", 0, func(t *testing.T, s *Counted) outcome {
		broker := brokertest.StartRedis(t)
		s.onRedis(t, broker)
		return tooLargeRequest(t, servicetest.Must(redisconn.Dial(broker.Client(t), queue, nil)), servicetest.Must(redisconn.Dial(broker.Client(t), queue, nil)))
	}},
	{"redis", "ErrNotRun", 0, func(t *testing.T, s *Counted) outcome {
		broker := brokertest.StartRedis(t)
		hasty := dial(t, servicetest.Must(redisconn.Dial(broker.Client(t), queue, nil)), jsonrpc2.ClientOptions{Timeout: 5 * time.Second})
		err := call(hasty, "Quick", Args{Name: "it"})
		s.onRedis(t, broker)
		return outcome{err, dial(t, servicetest.Must(redisconn.Dial(broker.Client(t), queue, nil)), jsonrpc2.ClientOptions{})}
	}},
	{"redis", "ErrTimeout", 1, func(t *testing.T, s *Counted) outcome {
		broker := brokertest.StartRedis(t)
		s.onRedis(t, broker)
		return timeout(t, s, servicetest.Must(redisconn.Dial(broker.Client(t), queue, nil)))
	}},
	{"redis", "ErrBadReply", 1, func(t *testing.T, s *Counted) outcome {
		broker := brokertest.StartRedis(t)
		s.onRedis(t, broker)
		return badReply(t, servicetest.Must(redisconn.Dial(broker.Client(t), queue, nil)))
	}},
	{"redis", "ErrReplyTooLarge", 1, func(t *testing.T, s *Counted) outcome {
		broker := brokertest.StartRedis(t)
		s.onRedis(t, broker)
		return tooLargeReply(t, servicetest.Must(redisconn.Dial(broker.Client(t), queue, nil)))
	}},
}

// onRedis serves the queue.
func (s *Counted) onRedis(t *testing.T, broker *brokertest.Redis) {
	s.serve(t, servicetest.Must(redisconn.Listen(broker.Client(t), queue, &redisconn.ListenOptions{Logger: servicetest.Quiet})), jsonrpc2.ServerOptions{})
}
