package redisconn_test

import (
	"context"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/micromessaging/jsonrpc2/internal/brokertest"
	"github.com/micromessaging/jsonrpc2/internal/servicetest"
	"github.com/micromessaging/jsonrpc2/redisconn"
)

// Before 7.0 Redis had no BLMPOP. Here a user is not allowed to use it.
func TestWithoutBLMPOP(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := brokertest.StartRedis(t)
			admin := broker.Client(t)
			rdb := restricted(t, broker, admin, "-blmpop")
			w := serve(t, rdb, nil)
			c := dial(t, rdb, &opts, 0)
			servicetest.RequireCalls(t, c.Client, 20)
			require.Zero(t, commandCalls(admin, "blmpop"))
			requireBlocked(t, admin, 2-btoi(opts.ReplyPerCall))
			c.end(t)
			w.End(t)
			requireEmpty(t, admin)
		})
	}
}

// If Redis refuses to let lists expire, the answers go out all the same, and the log says so once.
func TestWithoutExpiry(t *testing.T) {
	t.Parallel()
	broker := brokertest.StartRedis(t)
	admin := broker.Client(t)
	var log servicetest.LogBook
	serve(t, restricted(t, broker, admin, "-pexpire", "-expire"), &redisconn.ListenOptions{Logger: log.Logger()})
	c := dial(t, broker.Client(t), nil, 0)
	for range 3 {
		c.requireAdds(t)
	}
	require.Equal(t, 1, log.Count("reply lists do not expire"), &log)
	require.Zero(t, log.Count("connection impaired"), "which would hide that it is, later")
	setUser(t, admin, "+pexpire")
	c.requireAdds(t)
	servicetest.Eventually(t, func() bool { return log.Count("reply lists expire again") == 1 })
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// restricted returns a client whose user may do everything but what the rules
// say.
func restricted(t *testing.T, broker *brokertest.Redis, admin *redis.Client, rules ...string) *redis.Client {
	t.Helper()
	setUser(t, admin, append([]string{"on", ">secret", "~*", "&*", "+@all"}, rules...)...)
	rdb := redis.NewClient(&redis.Options{Addr: broker.Addr, Username: "app", Password: "secret"})
	t.Cleanup(func() { _ = rdb.Close() })
	return rdb
}

// setUser changes the rules for restricted's user.
func setUser(t *testing.T, admin *redis.Client, rules ...string) {
	t.Helper()
	require.NoError(t, admin.ACLSetUser(context.Background(), "app", rules...).Err())
}

func TestMiniredis(t *testing.T) {
	t.Parallel()
	for name, opts := range replyModes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broker := miniredis.RunT(t)
			rdb := redis.NewClient(&redis.Options{Addr: broker.Addr()})
			defer rdb.Close()
			w := serve(t, rdb, nil)
			c := dial(t, rdb, &opts, 0)
			servicetest.RequireCalls(t, c.Client, 20)
			require.NoError(t, rdb.Set(context.Background(), "string", "kept", 0).Err())
			push(t, rdb, add("string"), add("list"))
			require.Contains(t, pop(t, rdb, "list"), "6.1")
			servicetest.Eventually(t, func() bool { return w.conn.Stats().Undelivered == 1 })
			require.Equal(t, "kept", rdb.GetDel(context.Background(), "string").Val())
			c.end(t)
			w.End(t)
			requireEmpty(t, rdb)
		})
	}
}
