package faulttest

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2"
	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

const queue = "ledger"

// A redisSite is a site on Redis: one list.
type redisSite struct {
	connect       func() redis.UniversalClient
	connectServer func() redis.UniversalClient // for servers; connect if nil
	admin         redis.UniversalClient        // not affected by the faults
	dialing       redisconn.DialOptions
	listening     redisconn.ListenOptions
}

// newRedisSite returns a site on a single Redis.
func newRedisSite(t *testing.T, broker *brokertest.Redis) *redisSite {
	return &redisSite{connect: redisAt(broker.Addr), admin: broker.Client(t)}
}

// redisAt returns a function that makes a client with go-redis's defaults.
func redisAt(addr string) func() redis.UniversalClient {
	return func() redis.UniversalClient { return redis.NewClient(&redis.Options{Addr: addr}) }
}

func (s *redisSite) dial(t *testing.T) jsonrpc2.ClientConn {
	rdb := s.connect()
	t.Cleanup(func() { _ = rdb.Close() })
	s.dialing.Logger = servicetest.Quiet
	conn, err := redisconn.Dial(rdb, queue, &s.dialing)
	require.NoError(t, err)
	return conn
}

func (s *redisSite) listen(t *testing.T) jsonrpc2.ServerConn {
	connect := s.connectServer
	if connect == nil {
		connect = s.connect
	}
	rdb := connect()
	t.Cleanup(func() { _ = rdb.Close() })
	return s.listenOn(t, rdb)
}

func (s *redisSite) listenOn(t *testing.T, rdb redis.UniversalClient) jsonrpc2.ServerConn {
	s.listening.Logger = servicetest.Quiet
	conn, err := redisconn.Listen(rdb, queue, &s.listening)
	require.NoError(t, err)
	return conn
}

func (s *redisSite) waiting() (int, error) {
	n, err := s.admin.LLen(context.Background(), queue).Result()
	return int(n), err
}

// requireEmpty requires that there is no key, except for those that expire soon.
func (s *redisSite) requireEmpty(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	check := func(ctx context.Context, rdb *redis.Client) error {
		keys, err := rdb.Keys(ctx, "*").Result()
		require.NoError(t, err)
		for _, key := range keys {
			ttl, err := rdb.PTTL(ctx, key).Result()
			require.NoError(t, err)
			require.NotEqual(t, time.Duration(-1), ttl, "key %q is left and does not expire", key)
			require.LessOrEqual(t, ttl, time.Minute, "key %q", key)
		}
		return nil
	}
	switch rdb := s.admin.(type) {
	case *redis.ClusterClient:
		require.NoError(t, rdb.ForEachMaster(ctx, check))
	case *redis.Client:
		require.NoError(t, check(ctx, rdb))
	}
}

func (s *redisSite) noteVersion(t *testing.T) {
	t.Helper()
	info, err := s.admin.Info(context.Background(), "server").Result()
	require.NoError(t, err)
	for line := range strings.Lines(info) {
		if version, ok := strings.CutPrefix(line, "redis_version:"); ok {
			figures.version("Redis", strings.TrimSpace(version))
		}
	}
}

// do makes Redis run a command.
func (s *redisSite) do(t *testing.T, args ...any) {
	t.Helper()
	require.NoError(t, s.admin.Do(context.Background(), args...).Err())
}

func (s *redisSite) config() processConfig {
	listening := s.listening
	listening.Logger = nil
	return processConfig{RedisAddr: s.admin.(*redis.Client).Options().Addr, Queue: queue, Redis: listening}
}
